"""Running the first layers once is the same problem on fewer parameters."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from app.unlearning import truncation
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.rows import TensorRows
from app.unlearning.truncation import tail_names, truncate
from tests.unlearning.methods.problems import network


def test_the_gradient_of_the_last_layers_is_the_same() -> None:
    problem = replace(network("label_correction"), retained_total=500)
    part = truncate(problem, ["5.weight"])
    names = ("5.weight", "5.bias", "7.weight", "7.bias")
    assert tuple(part.parameters) == names

    whole = EditedLoss(problem).gradient({n: problem.parameters[n] for n in names})
    tail = EditedLoss(part, batch_size=7).gradient(part.parameters)

    for name in names:
        assert_close(tail[name], whole[name], rtol=1e-5, atol=1e-7)


def test_features_of_images_are_those_of_the_first_layers() -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randn(30, 2, 8, 8, generator=draw), torch.arange(30) % 3
    layers = (nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 3))
    model = nn.Sequential(*layers).eval()
    rows = TensorRows(images, labels)
    problem = replace(network("deletion"), model=model, forget=rows, retained=rows)
    batch = truncate(problem, ["4.weight"]).retained.take(torch.tensor([7, 3, 29]))
    assert_close(batch.inputs, model[:4](images)[[7, 3, 29]].detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(batch.targets, labels[[7, 3, 29]])


def test_the_tail_is_the_shortest_that_holds_enough() -> None:
    model = network("deletion").model
    assert tail_names(model, 1) == ("7.weight", "7.bias")
    assert tail_names(model, 51) == ("7.weight", "7.bias")
    assert tail_names(model, 52) == ("5.weight", "5.bias", "7.weight", "7.bias")
    assert tail_names(model, 10**9) == tuple(n for n, _ in model.named_parameters())


def test_nothing_is_cut_where_nothing_would_be_saved_or_it_would_be_wrong() -> None:
    problem = network("deletion")
    assert truncate(problem, ["1.weight", "7.bias"]) is problem
    assert truncate(problem, []) is problem

    class Skipping(nn.Sequential):
        """Not the composition of its children."""

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = super().forward(inputs) * 2
            return outputs

    wrapped = replace(problem, model=Skipping(*problem.model.children()).eval())
    assert truncate(wrapped, ["7.bias"]) is wrapped

    first = nn.Linear(6, 6)
    tied = nn.Sequential(first, nn.ReLU(), first, nn.ReLU(), nn.Linear(6, 3))
    sharing = replace(problem, model=tied.eval())
    assert truncate(sharing, ["0.weight"]) is sharing
    assert len(truncate(sharing, ["4.weight"]).parameters) == 2
    twice = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    twice[2].weight = twice[0].weight
    half = replace(problem, model=twice.eval())
    assert truncate(half, ["2.bias"]) is half


def test_a_layer_that_stands_in_several_places_runs_in_all_of_them() -> None:
    torch.manual_seed(0)
    bend = nn.Tanh()
    layers = [nn.Linear(6, 6), bend, nn.Linear(6, 5), bend, nn.Linear(5, 3)]
    model = nn.Sequential(*layers).eval()
    problem = replace(network("deletion"), model=model)

    part = truncate(problem, ["2.bias"])

    assert len(part.parameters) == 4
    row = problem.retained.take(torch.tensor([0, 1]))
    seen = part.retained.take(torch.tensor([0, 1]))
    assert_close(part.model(seen.inputs), model(row.inputs), rtol=1e-6, atol=1e-7)


def test_features_that_do_not_fit_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = network("deletion")
    monkeypatch.setattr(truncation, "FEATURE_BYTES_LIMIT", 100)
    assert truncate(problem, ["7.bias"]) is problem


def test_row_weights_go_along() -> None:
    problem = network("deletion")
    batch = next(iter(problem.retained.batches(100)))
    weights = torch.arange(len(batch)).float()
    weighted = replace(problem, retained=TensorRows(batch.inputs, batch.targets, weights))

    part = truncate(weighted, ["7.bias"])

    (found,) = part.retained.batches(1000)
    assert found.weights is not None
    assert torch.equal(found.weights, weights)
