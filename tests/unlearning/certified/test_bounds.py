"""What a Newton step leaves is below its bounds, every time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.unlearning.certified import remainder, worst_case
from app.unlearning.certified.training import newton_direction
from app.unlearning.objective import LossName
from tests.unlearning.certified.trained import Case, edited, theta_of

CASES = {loss: Case(rows=120, loss=loss) for loss in ("binary_cross_entropy", "cross_entropy")}


@given(
    loss=st.sampled_from(sorted(CASES)),
    removed=st.sets(st.integers(0, 119), min_size=1, max_size=40),
    replaced=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_residual_below_data_dependent_below_worst_case(
    loss: LossName, removed: set[int], replaced: bool
) -> None:
    case = CASES[loss]
    gone = torch.tensor(sorted(removed))
    kept = torch.tensor([i for i in range(120) if i not in removed])
    problem = case.problem(gone, kept, kind="label_correction" if replaced else "deletion")
    after = case.summed(edited(problem), case.b)
    theta = theta_of(case.model)

    step = newton_direction(after, theta, after.gradient(theta))

    left = float(after.gradient(theta + step).norm())
    bound = remainder(after, step)
    # Replaced rows change the gradient twice: as they were and as they are.
    edges = case.rows(torch.cat([gone, gone]) if replaced else gone)
    radius = max(after.norms[0], 2**0.5)
    worst = worst_case(after, theta, before=120, changed=edges, radius=radius)
    assert left <= bound + 1e-10
    assert bound <= worst


def test_the_data_dependent_bound_is_below_the_papers() -> None:
    """Guo et al.: gamma |X|_2 |d| |X d|, for rows of norm at most one (here: at most sqrt 2)."""
    case = CASES["binary_cross_entropy"]
    after = case.summed(case.rows(torch.arange(1, 120)), case.b)
    theta = theta_of(case.model)
    step = newton_direction(after, theta, after.gradient(theta))
    A = torch.cat([case.X[1:], torch.ones(119, 1).double()], 1)
    gamma = 1 / (6 * 3**0.5)
    papers = gamma * float(
        torch.linalg.matrix_norm(A, 2) * 2**0.5 * step.norm() * (A @ step.T).norm()
    )
    assert 0 < remainder(after, step) <= papers / 2


def test_the_worst_case_is_half_of_the_papers_at_its_assumptions() -> None:
    """4 gamma C^2 / (lambda^2 (n - 1)) for one row, |x| <= 1 and lambda |theta| <= C = 1."""
    case = CASES["binary_cross_entropy"]
    after = case.summed(case.rows(torch.arange(1, 120)), case.b)
    decay = case.objective.weight_decay
    theta = torch.zeros_like(case.b)
    theta[0, 0] = 1 / decay
    found = worst_case(after, theta, before=120, changed=case.rows(torch.tensor([0])), radius=1.0)
    gamma = 1 / (6 * 3**0.5)
    assert found == pytest.approx(0.5 * 4 * gamma / (decay**2 * 119))


def test_a_quadratic_loss_leaves_nothing() -> None:
    case = Case(loss="mean_squared_error", rows=60)
    after = case.summed(case.rows(torch.arange(9, 60)), case.b)
    theta = theta_of(case.model)
    step = newton_direction(after, theta, after.gradient(theta))
    assert remainder(after, step) == 0.0
    gone = case.rows(torch.arange(9))
    assert worst_case(after, theta, before=60, changed=gone, radius=9.0) == 0.0
    assert float(after.gradient(theta + step).norm()) < 1e-10
