"""Temporary files of jobs: one folder for each attempt, below the staging folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.infra.settings import settings
from workers.lease import Lease


def _folder_of(job_id: str) -> Path:
    return settings().staging_folder / job_id


@contextmanager
def staging(lease: Lease) -> Iterator[Path]:
    """Lend this attempt a folder of its own, removed with all it holds at the end."""
    folder = _folder_of(lease.job_id) / str(lease.fence)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_staging(job_id: str) -> None:
    """Remove what any attempt of a job left behind."""
    shutil.rmtree(_folder_of(job_id), ignore_errors=True)
