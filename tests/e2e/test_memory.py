"""Uploads and imports keep the memory bars; ``benchmarks/memory.py`` does the full sizes."""

from pathlib import Path

import pytest

from benchmarks.memory import MOST_API, MOST_GROWTH, Sizes, holds, measure, table_of

# A second copy of the weights or of the rows would not fit below the bar.
SMALL = Sizes(weights=250, rows=400_000, zeros=320)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_of_uploads_and_imports(tmp_path: Path) -> None:
    for title, figures in measure(SMALL, tmp_path):
        assert holds(figures), (MOST_GROWTH, MOST_API, "\n".join(table_of(title, figures)))
