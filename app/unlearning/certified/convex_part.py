"""The part of a network that a proof can be about: one linear layer on features that are fixed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.certified.summed_objective import SummedObjective
from app.unlearning.convexity import is_bare_linear
from app.unlearning.distillation.head_split import split_head
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.recipe import Trained
from app.unlearning.rows import Rows, concatenate
from app.unlearning.truncation import FeatureRows, has_hooks

_AFTER = (nn.Identity, nn.Dropout, nn.Flatten)
_BATCH = 256


@dataclass(frozen=True)
class ConvexPart:
    """A linear layer, and what turns rows into its inputs.

    Attributes:
        objective: What it was trained on; with weight decay.
        features: The layers before it; None if there are none.
        weight: Name of its weight in the network.
        bias: Name of its bias, if it has one.
        theta: Its parameters, (outputs, features), float64, the bias as the last column.
        dtype: In which the network keeps them.
    """

    objective: Objective
    features: nn.Module | None
    weight: str
    bias: str | None
    theta: Tensor
    dtype: torch.dtype

    def summed(self, *parts: Rows, linear: Tensor | None = None) -> SummedObjective:
        """The summed objective of the layer on rows of the network."""
        return SummedObjective(self.objective, self.rows(*parts), self.bias is not None, linear)

    def rows(self, *parts: Rows) -> Rows:
        """Rows of the network as rows of the layer."""
        if self.features is None:
            return concatenate(*parts)
        return concatenate(*(FeatureRows(self.features, part, _BATCH) for part in parts))

    def values(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameters as the network keeps them: by name, rounded to its dtype."""
        rounded = theta.to(self.dtype)
        if self.bias is None:
            return {self.weight: rounded.clone()}
        return {self.weight: rounded[:, :-1].contiguous(), self.bias: rounded[:, -1].contiguous()}

    def rounded(self, theta: Tensor) -> Tensor:
        """The parameters that are published, in float64 again."""
        return theta.to(self.dtype).double()


def convex_part(model: nn.Module, objective: Objective, trained: Trained) -> ConvexPart:
    """Find the linear layer whose objective is strongly convex.

    Args:
        model: The network.
        objective: What it was trained on.
        trained: Which parameters training moved, as the recipe declares: ``all``, and then nothing
            but the layer may have parameters; or ``last_layer``.

    Returns:
        The layer; its tensors are copies.

    Raises:
        NotApplicable: There is no such layer, or no weight decay.
    """
    if not objective.weight_decay > 0:
        raise NotApplicable("without weight decay the objective is not strongly convex")
    features: nn.Module | None = None
    layers: list[nn.Module] = [model]
    if not is_bare_linear(model):
        split = split_head(model, layers=1)
        layers = list(split.head)
        features = split.body if len(split.body) else None
    layer = layers[0]
    if not is_bare_linear(layer) or not all(
        isinstance(x, _AFTER) and not has_hooks(x) for x in layers[1:]
    ):
        raise NotApplicable("the last layer with parameters is not a linear one at the end")
    if trained == "all" and features is not None:
        held = [*features.parameters(), *features.buffers()]
        if held:
            raise NotApplicable(
                "the layers before the linear one have parameters or statistics of their own, and "
                "the recipe does not declare that training left them alone"
            )
    names = {id(p): name for name, p in model.named_parameters()}
    theta = layer.weight.detach().double()
    # torch declares a tensor where a layer may have None.
    bias: nn.Parameter | None = layer.bias
    if bias is not None:
        theta = torch.cat([theta, bias.detach().double()[:, None]], 1)
    return ConvexPart(
        objective,
        features,
        names[id(layer.weight)],
        None if bias is None else names[id(bias)],
        theta.clone(),
        layer.weight.dtype,
    )
