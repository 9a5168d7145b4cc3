"""The benchmark of the solvers on few rows: it runs, and its accuracy holds."""

import sys

import pytest
import torch

from benchmarks import solvers


def test_it_runs_and_its_solutions_agree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["solvers", "--quick"])
    try:
        assert solvers.main() == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "block and Cholesky" in printed
    assert "MISSED" not in printed
