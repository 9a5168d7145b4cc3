"""``lethe replay``: a job is run again and compared with what it published."""

import sys

from app.domain.errors import NotFound

USAGE = 2


def replay(job_id: str, threads: int | None) -> int:
    """Run a job again and print what was found, one sentence a line.

    Args:
        job_id: The job.
        threads: Torch threads; None for as many as it had.

    Returns:
        The exit status; ``workers.replaying.Outcome`` says what each means.
    """
    try:
        from workers.replaying import replay as run_again
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: pip install 'lethe-unlearning[worker]'")
    try:
        found = run_again(job_id, threads)
    except NotFound:
        print(f"there is no job {job_id}")
        return USAGE
    for sentence in found.sentences:
        print(sentence)
    return found.outcome
