"""Points between rows, and what a batch of lessons costs, against sums done the long way."""

import pytest
import torch
from torch.nn import functional

from app.unlearning.distillation.aim import Aim
from app.unlearning.distillation.around import POINTS, points_around, points_within
from app.unlearning.distillation.judgement import Figures
from app.unlearning.distillation.lessons import Lesson, Lessons
from app.unlearning.distillation.masked_teaching import _draw


def test_points_within_lie_between_two_rows_of_their_class() -> None:
    draw = torch.Generator().manual_seed(1)
    features, labels = (
        torch.arange(8.0)[:, None].repeat(1, 3),
        torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]),
    )
    points, own = points_within(features, labels, torch.tensor([0, 1, 3, 4]), draw)
    assert points.shape == (POINTS, 3)
    assert set(own.tolist()) == {0, 1}
    for label, low, high in ((0, 0.0, 1.0), (1, 3.0, 4.0)):
        found = points[own == label]
        assert low <= float(found.min()) < low + 0.2
        assert high - 0.2 < float(found.max()) <= high
        assert torch.equal(found[:, 0], found[:, 1])  # one proportion for all features of a point


def test_no_rows_no_points() -> None:
    draw = torch.Generator().manual_seed(1)
    nobody = torch.zeros(0, dtype=torch.int64)
    points, own = points_within(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), nobody, draw)
    assert len(points) == len(own) == 0
    assert len(points_around(torch.ones(4, 2), nobody, draw)) == 0


def test_points_around_are_six_parts_of_their_row_and_four_of_any() -> None:
    features = torch.tensor([[0.0], [10.0]])
    points = points_around(features, torch.tensor([1]), torch.Generator().manual_seed(3))
    assert float(points[0, 0]) in (pytest.approx(6.0), pytest.approx(10.0))


def test_where_the_class_is_known_its_log_probability_is_met_as_well() -> None:
    wanted = torch.tensor([[0.2, 0.8], [1e-4, 0.9999]]).log()
    lesson = Lesson(torch.zeros(2, 1), wanted, torch.tensor([0, 0]))
    nothing = Lesson(torch.zeros(0, 1), wanted[:0])
    aim = Aim(lessons_of(lesson, nothing, Lesson(torch.zeros(1, 1), wanted[:1])))
    drawn = _draw(aim, torch.Generator())
    answers = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.1, 0.9]]).log()

    divergence = -(wanted[[0, 0, 1]].exp() * answers).sum(1)
    apart = functional.huber_loss(answers[1:, 0], wanted[:, 0], reduction="none")
    expected = divergence[0] + 2 * (divergence[1:] + 0.3 * apart).mean()
    assert float(drawn.loss(answers)) == pytest.approx(float(expected), rel=1e-6)


def test_targets_follow_what_is_missing() -> None:
    logs = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log()
    rows = Lesson(torch.zeros(2, 1), logs, torch.tensor([1, 1]))
    aim = Aim(lessons_of(rows, rows, rows))
    risen = (logs + 0.1 * torch.tensor([0.0, 1.0])).log_softmax(1)
    torch.testing.assert_close(aim.within.answers, risen)
    torch.testing.assert_close(aim.forget.answers, logs)

    # A fifth of the loss is missing, and membership is told by 0.05 too well.
    aim.follow(Figures(0.8, 0.5, 0.55, 0.9))
    assert aim.stretch == pytest.approx(0.4 * 0.2)
    assert aim.shift == pytest.approx(0.1 + 4 * 0.05)
    origin = torch.tensor([[0.1, 0.9], [0.1, 0.9]]).log()
    beyond = (logs + 0.08 * (logs - origin)).log_softmax(1)
    torch.testing.assert_close(aim.forget.answers, beyond)
    risen = (logs + 0.3 * torch.tensor([0.0, 1.0])).log_softmax(1)
    torch.testing.assert_close(aim.within.answers, risen)

    aim.follow(Figures(9.0, 0.5, 0.0, 0.9))
    assert aim.stretch == -0.5
    assert aim.shift == 0.0  # unseen rows are never made harder than the reference finds them


def lessons_of(forget: Lesson, within: Lesson, retained: Lesson) -> Lessons:
    """Lessons that want a mean loss of 1 and an area of one half; the second class is hit."""
    return Lessons(
        retained=retained,
        around=Lesson(retained.features[:0], retained.answers[:0]),
        within=within,
        forget=forget,
        origin=torch.tensor([[0.1, 0.9]]).log().expand(len(forget), 2),
        is_hard=torch.tensor([False, True]),
        shift=0.1,
        wanted=Figures(1.0, 0.5, 0.5, 0.9),
    )
