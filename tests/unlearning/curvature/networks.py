"""Small networks for the curvature tests, each with inputs and labels, in double precision."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows


@dataclass(frozen=True)
class Case:
    model: nn.Module
    objective: Objective
    rows: TensorRows


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        features = functional.relu(self.norm(self.stem(inputs)), inplace=True)
        features = functional.relu(features + self.conv(features))
        return self.head(features.mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 6, 3, padding="same", dilation=(1, 2), groups=2)
        self.strided = nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4 * 3 * 2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.tanh(self.same(inputs))
        return self.head(functional.silu(self.norm(self.strided(features))).flatten(1))


class Sequence1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv1d(3, 5, 3, stride=2, padding=1)
        self.valid = nn.Conv1d(5, 4, 2, padding="valid", dilation=2)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(functional.gelu(self.valid(functional.gelu(self.wide(inputs)))).amax(2))


class Attention(nn.Module):
    """A block of a small language model, with positions shared by all rows."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8, padding_idx=0)
        self.positions = nn.Embedding(5, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
        query, key, value = self.qkv(self.norm(hidden)).chunk(3, 2)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.head((hidden + self.out(mixed))[:, -1])


class TransposedLinear(nn.Module):
    """The layer of GPT-2: addmm with a weight stored (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3) / 2)
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(-1, 4)
        return torch.addmm(self.bias, flat, self.weight).view(*inputs.shape[:-1], 3)


class Twice(nn.Module):
    """The same layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(inputs)))))


class Heads(nn.Module):
    """Outputs of which each depends on its own head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs))
        return torch.cat([head(hidden) for head in self.heads], 1)


class Einsum(nn.Module):
    """A parameter that reaches an operation without a rule, and a free one."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(4, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(torch.einsum("ni,ij->nj", inputs, self.mixing)) * self.scale)


class Recurrent(nn.Module):
    """Weights handed over in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.lstm(inputs)[0][:, -1])


class TimeFirst(nn.Module):
    """A linear layer applied with the row axis in second place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(inputs.transpose(0, 1))).sum(0))


def _float(*shape: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randn(rows, *shape, dtype=torch.float64)


def _tokens(rows: int) -> Tensor:
    return torch.randint(0, 11, (rows, 5))


CLASSIFIERS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "softmax regression": (lambda: nn.Linear(5, 4), _float(5), 4),
    "relu mlp": (
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 4)
        ),
        _float(6),
        4,
    ),
    "relu cnn with max-pool": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        _float(1, 6, 6),
        3,
    ),
    "residual cnn": (Residual, _float(1, 5, 5), 3),
    "grouped cnn": (Grouped, _float(4, 5, 4), 3),
    "cnn in one dimension": (Sequence1d, _float(3, 9), 3),
    "attention": (lambda: Attention(tied=False), _tokens, 11),
    "tied attention": (lambda: Attention(tied=True), _tokens, 11),
    "transposed linear": (
        lambda: nn.Sequential(TransposedLinear(), nn.Flatten(), nn.Tanh(), nn.Linear(6, 3)),
        _float(2, 4),
        3,
    ),
    "layer used twice": (Twice, _float(4), 3),
    "separate heads": (Heads, _float(4), 3),
    "parameter in einsum": (Einsum, _float(4), 3),
    "lstm": (Recurrent, _float(4, 3), 3),
    "time first": (TimeFirst, _float(4, 3), 3),
}

WITHOUT_RULES = {"parameter in einsum", "lstm", "time first"}

PIECEWISE_LINEAR = {"softmax regression", "relu mlp", "relu cnn with max-pool", "residual cnn"}


def classifier(name: str, rows: int = 5, *, weighted: bool = False) -> Case:
    torch.manual_seed(7)
    build, draw, classes = CLASSIFIERS[name]
    model = build().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    for name_of, buffer in model.named_buffers():
        if name_of.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 1.5)
    weights = torch.rand(rows, dtype=torch.float64) + 0.5 if weighted else None
    inputs, labels = draw(rows), torch.randint(0, classes, (rows,))
    return Case(model, Objective("cross_entropy"), TensorRows(inputs, labels, weights))


def regression(name: str, *, outputs: int = 2, rows: int = 6) -> Case:
    torch.manual_seed(3)
    width = outputs if name == "mean_squared_error" else 1
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, width)).double()
    targets = torch.randn(rows, width, dtype=torch.float64)
    if name == "binary_cross_entropy":
        targets = (targets[:, 0] > 0).double()
    inputs = torch.randn(rows, 4, dtype=torch.float64)
    objective = Objective("binary_cross_entropy" if width == 1 else "mean_squared_error")
    return Case(model, objective, TensorRows(inputs, targets))
