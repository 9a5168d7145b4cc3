"""The stored curvature does not depend on how the network was taken apart for it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from workers import preparing

CROSS_ENTROPY = Objective("cross_entropy")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def some_rows(count: int) -> TensorRows:
    generator = torch.Generator().manual_seed(1)
    return TensorRows(torch.randn(count, 5, generator=generator), torch.arange(count) % 3)


def lease() -> Any:
    reports: list[float] = []
    return SimpleNamespace(report=lambda _, share: reports.append(share), reports=reports)


def test_groups_hold_every_parameter_once_and_keep_to_their_size() -> None:
    model = network()
    groups = preparing.parameter_groups(model, 40)
    assert [name for group in groups for name in group] == [n for n, _ in model.named_parameters()]
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert all(len(group) == 1 or sum(sizes[n] for n in group) <= 40 for group in groups)


def test_small_network_is_exact_and_equals_the_explicit_sum(tmp_path: Path) -> None:
    model, rows = network(), some_rows(9)
    found = preparing.compute(model, CROSS_ENTROPY, rows, tmp_path, lease(), seed=0)
    assert found.estimator == "ggn"
    # The diagonal of the GGN is the expectation over the model's own labels of squared gradients.
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row in rows.inputs:
        logs = torch.log_softmax(model(row), 0)
        for label in range(3):
            gradients = torch.autograd.grad(-logs[label], [*model.parameters()], retain_graph=True)
            for name, gradient in zip(expected, gradients, strict=True):
                expected[name] += logs[label].exp().detach() * gradient**2 / len(rows)
    for name, tensor in expected.items():
        torch.testing.assert_close(found.values[name], tensor, rtol=1e-4, atol=1e-7)


def test_groups_give_what_one_pass_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = network(), some_rows(9)
    monkeypatch.setattr(preparing, "choose_estimator", lambda *_: "sketch")
    (tmp_path / "whole").mkdir()
    whole = preparing.compute(model, CROSS_ENTROPY, rows, tmp_path / "whole", lease(), seed=3)
    cut = preparing.parameter_groups(model, 40)
    monkeypatch.setattr(preparing, "parameter_groups", lambda _: cut)
    (tmp_path / "parts").mkdir()
    watched = lease()
    parts = preparing.compute(model, CROSS_ENTROPY, rows, tmp_path / "parts", watched, seed=3)
    assert len(cut) > 2
    assert parts.values.keys() == whole.values.keys()
    assert all(torch.allclose(parts.values[n], whole.values[n], rtol=1e-6) for n in whole.values)
    assert watched.reports == sorted(watched.reports)
    assert all(p.requires_grad for p in model.parameters())


def test_rows_read_fall_with_the_size_of_the_network() -> None:
    assert preparing.affordable_rows(network()) == preparing.MOST_ROWS
    with torch.device("meta"):
        large = nn.Linear(10_000, 10_000)
    assert preparing.affordable_rows(large) == preparing.FEWEST_ROWS
