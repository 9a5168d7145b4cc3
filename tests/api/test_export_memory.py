"""A long export takes the memory of a part of it."""

from pathlib import Path
from typing import Any

from tests.api.conftest import Service
from tests.sealed import append, seal


def test_an_export_needs_no_more_memory_than_a_part_of_it(service: Service, tmp_path: Path) -> None:
    tenant_id, key = service.tenant()
    facts: dict[str, Any] = {"digests": ["0123456789abcdef" * 4] * 120}
    for _ in range(4):
        append(1000, facts, tenant_id)
    seal()
    with service.client(key) as client:
        client.export_entries(tmp_path / "warm", since=0)
        before = service.memory()["VmHWM"]
        size = 0
        for _ in range(3):
            client.export_entries(tmp_path / "all", since=0)
            size += (tmp_path / "all").stat().st_size // 1024
        assert size > 90_000
        # A part is 500 leaves of 8 kB, and the heap is not returned at once.
        assert service.memory()["VmHWM"] - before < 20_000
