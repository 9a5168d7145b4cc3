"""Where heads begin."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from app.unlearning.architectures.blocks import Mean, Residual
from app.unlearning.distillation.effort import multiply_adds
from app.unlearning.distillation.head_split import split_head
from app.unlearning.errors import NotApplicable


def dense(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for one, other in pairwise(sizes):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return layers[:-1]


CONVOLUTIONAL = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), *dense(144, 24, 10)
)
TEXT = nn.Sequential(nn.Embedding(50, 8), Mean(1), *dense(8, 8, 2))
POOLED = nn.Sequential(
    nn.Conv2d(1, 4, 3), Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (CONVOLUTIONAL, ["4.weight", "4.bias", "6.weight", "6.bias"]),
        (TEXT, ["2.weight", "2.bias", "4.weight", "4.bias"]),
        # One dense layer is too little: the block before it joins the head.
        (POOLED, ["1.layers.0.weight", "1.layers.0.bias", "5.weight", "5.bias"]),
        # Two of three layers hold more than half of the parameters.
        (
            nn.Sequential(*dense(10, 30, 30, 2)),
            ["2.weight", "2.bias", "4.weight", "4.bias"],
        ),
        # They do not here.
        (
            nn.Sequential(*dense(90, 30, 20, 2)),
            ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"],
        ),
    ],
)
def test_the_head_is_the_dense_end_with_most_of_the_parameters(
    model: nn.Module, names: list[str]
) -> None:
    assert list(split_head(model).names.values()) == names


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_caller_may_say_how_many_layers(layers: int) -> None:
    split = split_head(CONVOLUTIONAL, layers)
    assert len(list(split.head.parameters())) == 2 * layers


def test_both_parts_one_after_the_other_are_the_network() -> None:
    nested = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), nn.Sequential(*dense(144, 9, 3))
    ).eval()
    X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    split = split_head(nested)
    assert torch.equal(split.head(split.body(X)), nested(X))
    assert list(split.names.values()) == ["1.0.weight", "1.0.bias", "1.2.weight", "1.2.bias"]
    own = dict(nested.named_parameters())
    assert all(p is own[split.names[n]] for n, p in split.head.named_parameters())


def test_a_layer_that_stands_in_several_places_runs_in_all_of_them() -> None:
    bend = nn.Tanh()
    layers = [nn.Linear(6, 7), bend, nn.Linear(7, 7), bend, nn.Linear(7, 3)]
    model = nn.Sequential(*layers).eval()
    X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    split = split_head(model, layers=2)
    assert torch.equal(split.head(split.body(X)), model(X))


def test_what_cannot_be_cut_is_refused() -> None:
    tied = nn.Sequential(nn.Embedding(6, 6), *dense(6, 6, 6))
    tied[3].weight = tied[0].weight
    for model, layers in [
        (nn.TransformerEncoderLayer(8, 2), None),
        (tied, None),
        (TEXT, 3),
        (nn.Sequential(nn.ReLU()), None),
    ]:
        with pytest.raises(NotApplicable):
            split_head(model, layers)


def test_multiply_adds_are_counted_by_hand() -> None:
    # 36 pixels times 9 weights times 4 channels, then the dense layers.
    expected = 36 * 9 * 4 + 144 * 24 + 24 * 10
    assert multiply_adds(CONVOLUTIONAL.eval(), torch.zeros(3, 1, 8, 8)) == expected
    assert multiply_adds(TEXT, torch.zeros(2, 7, dtype=torch.int64)) == 8 * 8 + 8 * 2
