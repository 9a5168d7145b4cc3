"""The comparison of diagonals on few rows: it runs, and ours are exact."""

import sys

import pytest
import torch

from benchmarks import curvature


def test_it_runs_and_the_exact_diagonals_are_exact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["curvature", "--quick", "--only", "MLP"])
    try:
        assert curvature.main() == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "ours: GGN, exact, in double" in printed
    assert "all bars are met" in printed
