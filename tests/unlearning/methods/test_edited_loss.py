"""The edited loss, its gradient and its curvature against the slow obvious way."""

from dataclasses import replace

import torch
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.testing import assert_close

from app.unlearning.edited_loss import EditedLoss, correction_gradient, total_weight
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem
from app.unlearning.sampling import judging_rows, uniform_sample
from app.unlearning.selection import Selection
from tests.unlearning.methods.problems import KINDS, flat, network, ridge


def explicit(problem: Problem, theta: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum of weighted losses over the number of edited rows, plus decay, in one expression."""
    total = torch.zeros((), dtype=torch.float64)
    for rows, weight in ((problem.retained, problem.retained_weight), (problem.replacement, 1.0)):
        for batch in rows.batches(1000):
            outputs = functional_call(problem.model, theta, (batch.inputs,))
            total = total + weight * problem.objective.losses(outputs, batch.targets).sum()
    squares = sum(t.square().sum() for t in ({**problem.parameters, **theta}).values())
    return total / problem.edited_total + 0.5 * problem.objective.weight_decay * squares


def in_float64(problem: Problem) -> Problem:
    from app.unlearning.double_precision import in_float64 as cast

    return cast(problem)


def test_loss_and_gradient_are_those_of_the_expression() -> None:
    problem = in_float64(replace(network("label_correction"), retained_total=500))
    theta = {name: t.clone().requires_grad_() for name, t in problem.parameters.items()}
    expected = explicit(problem, theta)
    gradients = torch.autograd.grad(expected, list(theta.values()))

    for size in (7, 1024):
        loss = EditedLoss(problem, batch_size=size)
        value, found = loss.loss_and_gradient(problem.parameters)
        assert abs(value - expected.item()) < 1e-12
        assert abs(loss.loss({}) - value) < 1e-12
        for name, gradient in zip(theta, gradients, strict=True):
            assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
        assert loss.gradient_evaluations == 120


def test_the_curvature_is_the_hessian_of_a_linear_model() -> None:
    problem, _, _ = ridge("label_correction")
    mask = torch.tensor([[True, False, True, True, False]])
    selection = Selection({"weight": mask, "bias": torch.tensor([True])})

    def at(weight: torch.Tensor) -> torch.Tensor:
        return explicit(problem, {"weight": weight[None, :5], "bias": weight[5:]})

    S = torch.tensor([True, False, True, True, False, True])
    expected = hessian(at, flat(problem.model))[S][:, S]
    curvature = EditedCurvature(problem, problem.parameters, selection)

    assert_close(curvature.block(), expected, rtol=1e-10, atol=1e-12)
    columns = [curvature.product(e) for e in torch.eye(4, dtype=torch.float64)]
    assert_close(torch.stack(columns), expected, rtol=1e-10, atol=1e-12)
    v = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    assert abs(curvature.along(v) - float(v @ expected @ v / (v @ v))) < 1e-10


def test_at_an_optimum_the_correction_alone_is_the_gradient_of_the_edited_loss() -> None:
    """Weight decay included: a deletion makes the mean a mean over fewer rows."""
    for kind in KINDS:
        problem, _, _ = ridge(kind, decay=0.3)
        gamma, cost = correction_gradient(problem, problem.parameters)
        gradient = EditedLoss(problem).gradient(problem.parameters)
        for name, part in gamma.items():
            assert_close(part, gradient[name], rtol=0.0, atol=1e-12)
        assert cost == (7 if kind == "deletion" else 14)


def test_a_sample_is_unbiased() -> None:
    """The mean of many samples' sums approaches the sum; each has the right total weight."""
    problem, _, _ = ridge("deletion")
    everything = sum(float(b.targets.sum()) for b in problem.retained.batches(100))
    draw = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(400):
        sample = uniform_sample(problem.retained, 10, draw)
        (batch,) = sample.batches(100)
        assert batch.weights is not None
        assert abs(batch.total_weight() - 53) < 1e-9
        sums.append(float((batch.targets * batch.weights).sum()))
    spread = torch.tensor(sums).std() / 400**0.5
    assert abs(torch.tensor(sums).mean() - everything) < 4 * spread
    assert uniform_sample(problem.retained, 53, draw) is problem.retained


def test_corrected_rows_are_judged_however_few_they_are() -> None:
    """Five of ten thousand: a sample of all rows together would seldom hold one."""
    problem, _, _ = ridge("label_correction", rows=5000, affected=5)
    problem = replace(problem, retained_total=9990)
    judged = judging_rows(problem, torch.Generator().manual_seed(0))
    targets = torch.cat([b.targets for b in judged.batches(500)])
    (wanted,) = problem.replacement.batches(5)
    assert len(judged) == 2048 + 5
    assert torch.equal(targets[-5:], wanted.targets)
    assert abs(total_weight(judged) - problem.edited_total) < 1e-6
    few, _, _ = ridge("feature_correction")
    assert len(judging_rows(few, torch.Generator())) == len(few.edited)
