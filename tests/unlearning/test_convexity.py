"""Only a linear layer as torch has it makes a convex model."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from app.unlearning.certified import convex_part
from app.unlearning.convexity import is_convex, layers_before, only_layer
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective

OBJECTIVE = Objective("cross_entropy", 0.1)


class Bent(nn.Linear):
    """A linear layer by its class alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(super().forward(inputs))


def hooked(module: nn.Module, layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda _, __, outputs: torch.tanh(outputs))
    return module


def repeated() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, layer)


def hooked_sequence() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return hooked(model, model)


def hooked_layer() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return hooked(model, model[0])


def hooked_linear() -> nn.Module:
    model = nn.Linear(4, 3)
    return hooked(model, model)


CURVED: dict[str, Callable[[], nn.Module]] = {
    "two layers": lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)),
    "one layer twice": repeated,
    "an activation": lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
    "a subclass": lambda: Bent(4, 3),
    "a hook on the layer": hooked_linear,
    "a hook on the sequence": hooked_sequence,
    "a hook before the layer": hooked_layer,
}


@pytest.mark.parametrize("name", CURVED)
def test_what_is_no_linear_layer_is_not_taken_for_one(name: str) -> None:
    model = CURVED[name]()
    assert not is_convex(model, OBJECTIVE)
    assert only_layer(model) is None


@pytest.mark.parametrize("name", ["a subclass", "weight norm", "a hook on the layer"])
def test_no_proof_is_begun_on_them(name: str) -> None:
    with pytest.raises(NotApplicable):
        convex_part(CURVED[name](), OBJECTIVE, "all")


def test_layers_that_pass_everything_on_do_not_matter() -> None:
    flat, layer = nn.Flatten(), nn.Linear(4, 3)
    model = nn.Sequential(nn.Dropout(0.5), flat, nn.Identity(), layer)
    assert is_convex(model, OBJECTIVE)
    assert only_layer(model) is layer
    assert layers_before(model) == [flat]
    assert only_layer(layer) is layer
