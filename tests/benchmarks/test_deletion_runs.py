"""Retraining judged by its own bar, and what tables say of runs, against counts by hand."""

from benchmarks.quality.deletion_measures import Gap, Measures
from benchmarks.quality.deletion_runs import Line, retrained_by_the_others, told_apart
from benchmarks.quality.deletion_tables import alarms, ceiling, line_cells, summary

UNTOUCHED = Measures(1.0, 0.1, 0.60, 0.90)
RETRAINED = [
    Measures(0.80, 1.0, 0.50, 0.90),
    Measures(0.78, 1.1, 0.51, 0.90),
    Measures(0.70, 1.2, 0.49, 0.90),
]


def test_a_retrained_network_is_judged_by_the_mean_of_the_others() -> None:
    line = retrained_by_the_others([UNTOUCHED] * 3, RETRAINED, 200)
    # The last lost 0.30 where the two others lost 0.21 on average, and 1.1 against 0.95.
    assert line.closed[2] == ((1.0 - 0.70) / (1.0 - 0.79), (0.1 - 1.2) / (0.1 - 1.05))
    assert line.behaved == [True, True, False]
    assert line.missed["accuracy"] == 1
    assert line.verdicts == ["miss"] * 3  # all changed everything, at full cost
    assert ceiling(line) == "retraining itself misses what is asked in 1 of 3 runs"
    assert line_cells(line)[-2] == "0 of 3, 2 but for cost"


def test_retrainings_that_differ_by_the_gap_decide_nothing() -> None:
    wild = [Measures(0.9, 1.0, 0.5, 0.9), Measures(0.5, 1.0, 0.5, 0.9)]
    line = retrained_by_the_others([UNTOUCHED] * 2, wild, 200)
    assert line.verdicts == ["inconclusive"] * 2
    assert line.conclusive == []
    assert "nothing is decided" in ceiling(line)


def test_one_row_tells_nothing() -> None:
    same = [RETRAINED[0]] * 3
    assert told_apart(same, 50).accuracy > 1 / 50
    assert told_apart(RETRAINED, 200).accuracy == 0.80 - 0.70


def test_the_judgement_is_counted_against_what_runs_do() -> None:
    gap = Gap(UNTOUCHED, RETRAINED[0], Measures(0.02, 0.1, 0.01, 0.01))
    line = Line()
    line.add(gap, RETRAINED[0], 0.1, 0.2)  # behaves, but is too dear
    line.add(gap, UNTOUCHED, 0.0, 0.0)  # does nothing
    line.judged += [0.4, 3.0]
    assert alarms([line]) == "J refuses 1 of 1 misses, and 0 of 1 passes"
    assert summary([line]).startswith("0 of 2 runs that decide anything pass, 1 but for cost")
