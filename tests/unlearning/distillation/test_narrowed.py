"""A narrowed head answers and learns as the whole head does."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from app.unlearning.distillation.masked_adam import MaskedAdam
from app.unlearning.distillation.narrowed import NarrowLinear, confined, narrow_head
from app.unlearning.selection import Selection, select_extreme


def head(inputs: int = 40) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def chosen(whole: nn.Sequential, columns: list[int]) -> Selection:
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in whole.named_parameters()}
    masks["0.weight"][::2, columns] = True
    masks["0.bias"][1] = True
    masks["2.weight"][0] = True
    return Selection(masks)


def data(inputs: int = 40) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(30, inputs, generator=draw, dtype=torch.float64)


def test_it_answers_as_the_whole_head() -> None:
    whole, X = head(), data()
    narrowed = narrow_head(whole, X, chosen(whole, [3, 17, 20]))
    assert isinstance(narrowed.head, nn.Sequential)
    assert isinstance(narrowed.head[0], NarrowLinear)
    view = narrowed.features(X)
    assert view.shape == (30, 3 + 8)
    torch.testing.assert_close(narrowed.head(view), whole(X))


def test_it_learns_as_the_whole_head_and_leaves_the_rest_bit_by_bit() -> None:
    whole, X = head(), data()
    labels = torch.arange(30) % 3
    selection = chosen(whole, [3, 17, 20])
    narrowed = narrow_head(whole, X, selection)

    def taught(model: nn.Module, view: Tensor, selected: Selection) -> dict[str, Tensor]:
        adam = MaskedAdam(model, selected, 0.05)
        for _ in range(20):
            outputs = functional_call(model, adam.theta, (view,))
            adam.step(nn.functional.cross_entropy(outputs, labels), 1.0)
        return adam.average()

    expected = taught(whole, X, selection)
    found = taught(narrowed.head, narrowed.features(X), narrowed.selection(selection))
    found = narrowed.widen(found)
    assert set(found) == set(expected)
    before = dict(whole.named_parameters())
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])
        same = ~selection.masks[name]
        assert torch.equal(value[same], before[name].detach()[same])
        assert not torch.equal(value, before[name])


@pytest.mark.parametrize("columns", [list(range(35)), []])
def test_it_stays_whole_where_nothing_is_saved(columns: list[int]) -> None:
    whole, X = head(), data()
    narrowed = narrow_head(whole, X, chosen(whole, columns))
    assert narrowed.head is whole
    assert narrowed.features(X) is X


def test_a_head_that_reads_maps_stays_whole() -> None:
    whole = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    masks = {"0.weight": torch.ones(3, 2, 3, dtype=torch.bool)}
    assert narrow_head(whole, torch.zeros(1, 2, 6), Selection(masks)).head is whole


def test_a_ranking_is_confined_to_columns_with_room() -> None:
    draw = torch.Generator().manual_seed(2)
    scores = {"0.weight": torch.rand(8, 40, generator=draw), "2.weight": torch.rand(3, 8)}
    only = confined(scores, "0.weight", 16)
    kept = (only["0.weight"] >= 0).all(0)
    assert int(kept.sum()) == 6  # 3 * 16 scalars in columns of 8
    best = scores["0.weight"].sum(0).topk(6).indices
    assert set(kept.nonzero()[:, 0].tolist()) == set(best.tolist())
    assert only["2.weight"] is scores["2.weight"]
    assert not bool(select_extreme(only, 16).masks["0.weight"][:, ~kept].any())


def test_adam_on_everything_is_torch_adam_and_a_look_is_the_mean_of_the_steps() -> None:
    whole, X = head(), data()
    labels = torch.arange(30) % 3
    ours = MaskedAdam(whole, Selection.everything(dict(whole.named_parameters())), 0.01)
    theirs = torch.optim.Adam(whole.parameters(), lr=0.01, betas=(0.9, 0.99))
    seen = []
    for _ in range(5):
        ours.step(nn.functional.cross_entropy(functional_call(whole, ours.theta, (X,)), labels), 1)
        seen.append({n: p.detach().clone() for n, p in ours.theta.items()})
    mean = ours.average()
    for name, value in mean.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in seen]).mean(0))
    for _ in range(5):
        theirs.zero_grad()
        nn.functional.cross_entropy(whole(X), labels).backward()
        theirs.step()
    for name, value in whole.named_parameters():
        torch.testing.assert_close(seen[-1][name], value.detach(), rtol=1e-5, atol=1e-7)
