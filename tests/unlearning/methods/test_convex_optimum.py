"""The search on convex models: how far it comes, by which way, and on which scalars."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.double_precision import in_float64
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable, NotConverged
from app.unlearning.methods import make_method
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.objective import LossName, Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows, empty
from app.unlearning.selection import Selection
from app.unlearning.update import JSON, Update, apply_update
from tests.unlearning.methods.problems import flat, linear, network

DECAY = 1e-3


def logistic(features: int, rows: int, gone: int) -> Problem:
    """A logistic regression on features of unequal scales, at its optimum, float64."""
    draw = torch.Generator().manual_seed(2)
    scales = torch.logspace(-1, 1, features, dtype=torch.float64)
    X = torch.randn(rows, features, generator=draw, dtype=torch.float64) * scales
    X[:, 1:] += 0.5 * X[:, :-1]
    wanted = torch.randn(features, generator=draw, dtype=torch.float64) / scales
    noise = torch.randn(rows, generator=draw, dtype=torch.float64)
    y = (X @ wanted + 3.0 * noise > 0).double()
    whole = deletion(torch.zeros(features + 1, dtype=torch.float64), X, y, 0)
    return deletion(newton(whole), X, y, gone)


def deletion(theta: Tensor, X: Tensor, y: Tensor, gone: int) -> Problem:
    return Problem(
        model=linear(theta),
        objective=Objective("binary_cross_entropy", DECAY),
        kind="deletion",
        forget=TensorRows(X[:gone], y[:gone]),
        replacement=empty(),
        retained=TensorRows(X[gone:], y[gone:]),
        retained_total=len(X) - gone,
    )


def newton(problem: Problem, chosen: Tensor | None = None) -> Tensor:
    """The optimum of the edited loss by exact Newton steps on a dense Hessian."""
    (batch,) = problem.retained.batches(10**6)
    A = torch.cat([batch.inputs, torch.ones(len(batch), 1, dtype=torch.float64)], 1)
    theta = flat(problem.model)
    S = torch.ones_like(theta, dtype=torch.bool) if chosen is None else chosen
    for _ in range(30):
        p = torch.sigmoid(A @ theta)
        gradient = A.T @ (p - batch.targets) / len(A) + DECAY * theta
        hessian = A.T @ (A * (p * (1 - p))[:, None]) / len(A) + DECAY * torch.eye(len(theta))
        theta[S] -= torch.linalg.solve(hessian[S][:, S], gradient[S])
    return theta


# The last has rows enough to draw them at random, the second not; the first is solved directly.
@pytest.mark.parametrize(("features", "rows"), [(8, 200), (60, 300), (40, 3000)])
def test_it_reaches_the_optimum(features: int, rows: int) -> None:
    problem = logistic(features, rows, rows // 20)
    wanted = newton(problem)
    before = float((flat(problem.model) - wanted).norm())

    found = convex_optimum(problem, tolerance=1e-10, max_steps=500)

    reached = torch.cat([found.theta["weight"][0], found.theta["bias"]])
    # A gradient of this norm is this far from the optimum at most.
    assert float((reached - wanted).norm()) <= 1e-10 / DECAY + 1e-12
    assert before > 1e-2
    assert found.gradient_norm <= 1e-10
    assert found.loss_after < found.loss_before


@pytest.mark.parametrize("accuracy", [1e-1, 1e-2, 1e-3])
def test_what_is_left_of_the_way_is_what_was_asked_for(accuracy: float) -> None:
    for seed, rows in enumerate((300, 2500)):
        problem = logistic(60, rows, rows // (10 + seed))
        wanted = newton(problem)
        start = flat(problem.model)

        found = convex_optimum(problem, tolerance=0.0, max_steps=500, accuracy=accuracy)

        reached = torch.cat([found.theta["weight"][0], found.theta["bias"]])
        # The share is an estimate; twice as much would make it useless.
        left = float((reached - wanted).norm())
        assert left <= 2 * accuracy * float((reached - start).norm())
        exactly = convex_optimum(problem, tolerance=1e-10, max_steps=500)
        assert found.gradient_evaluations < exactly.gradient_evaluations


@pytest.mark.parametrize(
    ("name", "decay"),
    [("cross_entropy", DECAY), ("mean_squared_error", DECAY), ("mean_squared_error", 0.0)],
)
def test_several_outputs_reach_their_optimum(name: LossName, decay: float) -> None:
    draw = torch.Generator().manual_seed(5)
    X = torch.randn(150, 30, generator=draw, dtype=torch.float64)
    X *= torch.rand(150, 1, generator=draw).double().pow(-0.7)
    scores = X @ torch.randn(30, 4, generator=draw, dtype=torch.float64)
    y = scores + torch.randn(150, 4, generator=draw, dtype=torch.float64)
    targets = y.argmax(1) if name == "cross_entropy" else y
    model = nn.Sequential(nn.Linear(30, 4).double()).eval()
    problem = Problem(
        model=model,
        objective=Objective(name, decay),
        kind="deletion",
        forget=TensorRows(X[:10], targets[:10]),
        replacement=empty(),
        retained=TensorRows(X[10:], targets[10:]),
        retained_total=140,
    )

    found = convex_optimum(problem, tolerance=1e-10, max_steps=500)

    loss = EditedLoss(in_float64(problem))
    gradient = loss.gradient(found.theta)
    assert sum(float(g.square().sum()) for g in gradient.values()) ** 0.5 <= 1.1e-10
    if name == "mean_squared_error":
        A = torch.cat([X[10:], torch.ones(140, 1).double()], 1)
        H = 2 * A.T @ A / (4 * 140) + decay * torch.eye(31).double()
        wanted = torch.linalg.solve(H, 2 * A.T @ y[10:] / (4 * 140))
        reached = torch.cat([found.theta["0.weight"].t(), found.theta["0.bias"][None]])
        assert_close(reached, wanted, rtol=0.0, atol=1.1e-10 / float(torch.linalg.eigvalsh(H)[0]))


def test_a_gradient_that_float32_cannot_see_is_followed_in_float64() -> None:
    problem = logistic(60, 1500, 1)
    wanted = newton(problem)
    far = float((flat(problem.model) - wanted).norm())

    found = convex_optimum(problem, tolerance=0.0, max_steps=500, accuracy=1e-6)

    reached = torch.cat([found.theta["weight"][0], found.theta["bias"]])
    assert float((reached - wanted).norm()) <= 2e-6 * far


def test_the_heavy_rows_save_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = heavy_tailed()
    with_them = convex_optimum(problem, tolerance=1e-8, max_steps=500).gradient_evaluations
    monkeypatch.setattr("app.unlearning.methods.convex_conditioner._LINES", 0)
    without = convex_optimum(problem, tolerance=1e-8, max_steps=500).gradient_evaluations
    assert with_them < 0.5 * without


def test_curvature_of_long_ago_is_taken_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = heavy_tailed()
    zero = replace(problem, model=linear(torch.zeros(101, dtype=torch.float64)))
    anew = convex_optimum(zero, tolerance=1e-9, max_steps=500)
    monkeypatch.setattr("app.unlearning.methods.convex_optimum._WORTHWHILE", 0.0)
    kept = convex_optimum(zero, tolerance=1e-9, max_steps=500)
    assert anew.gradient_evaluations < 0.7 * kept.gradient_evaluations
    assert_close(anew.theta["weight"], kept.theta["weight"], rtol=0.0, atol=2e-6)


def heavy_tailed() -> Problem:
    """Rows like bags of words: a few hold most of the curvature."""
    draw = torch.Generator().manual_seed(1)
    X = torch.randn(600, 100, generator=draw, dtype=torch.float64)
    X = (X @ torch.randn(100, 100, generator=draw, dtype=torch.float64)) / 10
    X *= torch.rand(600, 1, generator=draw).double().pow(-0.8)
    y = (X[:, 0] + 5 * torch.randn(600, generator=draw) > 0).double()
    whole = deletion(torch.zeros(101, dtype=torch.float64), X, y, 0)
    return deletion(newton(whole), X, y, 30)


def test_on_a_selection_it_reaches_the_optimum_over_it() -> None:
    problem = logistic(60, 400, 40)
    chosen = torch.zeros(61, dtype=torch.bool)
    chosen[::2] = True
    masks = {"weight": chosen[None, :-1], "bias": chosen[-1:]}

    for count in (31, 3):
        chosen[count * 2 :] = False
        selection = Selection({name: mask.clone() for name, mask in masks.items()})
        found = convex_optimum(problem, tolerance=1e-11, max_steps=500, selection=selection)

        theta = {**problem.parameters, **found.theta}
        reached = torch.cat([theta["weight"][0], theta["bias"]])
        assert_close(reached, newton(problem, chosen), rtol=0.0, atol=1e-8)
        assert torch.equal(reached[~chosen], flat(problem.model)[~chosen])


def test_a_gradient_out_of_reach_is_an_error() -> None:
    problem = logistic(60, 300, 15)
    with pytest.raises(NotConverged):
        convex_optimum(problem, tolerance=1e-12, max_steps=1)


def test_the_policy_reaches_it() -> None:
    problem = logistic(60, 3000, 300)
    wanted = newton(problem)
    start = flat(problem.model)

    def left(method: str, parameters: dict[str, object]) -> tuple[float, int]:
        update = make_method(method, parameters).unlearn(problem)  # type: ignore[arg-type]
        away = flat(apply_update(problem.model, update)) - wanted
        return float(away.norm() / (start - wanted).norm()), update.gradient_evaluations

    loosely, cheap = left("influence", {"accuracy": 5e-3})
    tightly, dear = left("influence", {})
    assert tightly < 1e-5 < loosely < 1e-2
    assert cheap < dear
    assert left("sparse_newton", {"fraction": 1.0})[0] < 1e-4


@pytest.mark.parametrize("select", ["decrement", "greedy"])
@pytest.mark.parametrize("reselections", [0, 4])
def test_a_sparse_update_lowers_the_edited_loss_and_stays_in_its_budget(
    select: str, reselections: int
) -> None:
    problem = logistic(60, 400, 40)
    loss = EditedLoss(in_float64(problem))
    before = loss.loss(problem.parameters)
    least = loss.loss(convex_optimum(problem, tolerance=1e-9, max_steps=500).theta)

    update = make_method(
        "sparse_newton", {"fraction": 0.2, "select": select, "reselections": reselections}
    ).unlearn(problem)

    changed = apply_update(problem.model, update)
    after = loss.loss({name: p.detach() for name, p in changed.named_parameters()})
    assert least < after < before
    assert int((flat(changed) != flat(problem.model)).sum()) <= update.selected == 12
    assert update.diagnostics["solvers"] == ["optimum"] * (1 + reselections)


def test_unless_told_otherwise_it_selects_greedily_in_rounds() -> None:
    problem = logistic(60, 400, 40)

    def after(**given: JSON) -> tuple[JSON, Update]:
        update = make_method("sparse_newton", {"fraction": 0.2, **given}).unlearn(problem)
        return update.diagnostics["edited_loss_after"], update

    plain, update = after()
    assert update.diagnostics["selected_by"] == "greedy"
    assert plain == after(select="greedy", reselections=4)[0]
    assert float(plain) < float(after(select="decrement", reselections=0)[0])  # type: ignore[arg-type]
    whole = make_method("sparse_newton", {"fraction": 1.0}).unlearn(problem)
    assert whole.diagnostics["solvers"] == ["optimum"]
    on_a_network = make_method("sparse_newton", {"fraction": 0.1}).unlearn(network("deletion"))
    assert on_a_network.diagnostics["selected_by"] == "decrement"
    assert len(on_a_network.diagnostics["solvers"]) == 1  # type: ignore[arg-type]


def test_the_optimum_of_a_network_is_refused() -> None:
    with pytest.raises(NotApplicable):
        make_method("sparse_newton", {"solver": "optimum", "scope": "all"}).unlearn(
            network("deletion")
        )
