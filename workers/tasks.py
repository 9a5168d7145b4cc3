"""The only task: run the job that a bell names."""

from workers.main import celery
from workers.running import run


@celery.task(name="run_job")
def run_job(job_id: str) -> None:
    """Run a job if it may be had; otherwise return quietly."""
    run(job_id)
