"""The comparison of diagonals on few rows: it runs, and ours are exact."""

import sys

import pytest
import torch

from benchmarks import curvature
from benchmarks.diagonals.methods import Method
from benchmarks.diagonals.networks import CASES


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


def test_what_there_is_nothing_to_compare_with_has_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = Method("forward + backward", list, seconds=[2.0], peak=4)
    curvature.show(train, [Method("ours: R(1), an estimate", list, "ggn", seconds=[3.0], peak=5)])
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split()[-3:] == ["1.50", "-", "1.25"]


def test_a_failure_of_ours_is_not_taken_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[torch.Tensor]:
        raise ArithmeticError

    monkeypatch.setattr(curvature, "ours", lambda *_: [Method("ours", fail, "fisher")])
    monkeypatch.setattr(curvature, "peers", lambda *_: [])
    with pytest.raises(ArithmeticError):
        curvature.compare(CASES[0], rows=2, turns=1, timed=False)
