"""What the API's process loads, holds and lets others wait for."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from app.client import Lethe
from tests.api.conftest import Service
from tests.api.registered import ready_dataset

FORBIDDEN = ("torch", "celery", "pyarrow", "kombu", "safetensors", "sklearn")


def test_the_application_loads_neither_torch_nor_celery_nor_pyarrow() -> None:
    script = (
        "import sys, app.api.main;"
        f"found = [name for name in {FORBIDDEN!r} if name in sys.modules];"
        "sys.exit(', '.join(found) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_process_stays_small_when_it_works(service: Service, client: Lethe) -> None:
    dataset_id = ready_dataset(client)
    for _ in range(3):
        ids = [f"unknown-{number}" for number in range(50_000)]
        client.submit_deletion(dataset_id, sample_ids=ids)
    client.metrics()
    assert service.memory()["VmRSS"] < 200_000
    assert psutil.Process(service.process.pid).children() == []


def test_writers_at_once_are_all_served(service: Service) -> None:
    def write(number: int) -> float:
        began = time.monotonic()
        with service.client() as client:
            for _ in range(5):
                client.create_dataset(f"writer-{number}", id="id")
        return time.monotonic() - began

    with ThreadPoolExecutor(24) as pool:
        seconds = list(pool.map(write, range(24)))
    # Turns are taken in order: nobody starves while others are served.
    assert max(seconds) < 4 * (min(seconds) + 1)
