"""The networks that the diagonals are measured on, in plain PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.unlearning.rows import Batch

VOCABULARY, CONTEXT, WIDTH, BLOCKS, HEADS = 5000, 128, 256, 6, 8


class Residual(nn.Module):
    """Two convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the shortcut to the two convolutions."""
        hidden = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(inputs)))))
        out: Tensor = self.relu2(hidden + self.shortcut(inputs))
        return out


def mlp() -> nn.Module:
    """A dense network for 28 x 28 pixels: 784-256-256-10."""
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def lenet() -> nn.Module:
    """LeNet-5 with ReLU and max-pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def resnet8() -> nn.Module:
    """A residual network of eight layers for 32 x 32 images, its batch norms in eval mode."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


class Block(nn.Module):
    """Causal attention and a dense part four times as wide, with layer norms in front."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.gelu, self.down = (
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.GELU(),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Add both parts to the inputs, (rows, positions, WIDTH)."""
        split = self.qkv(self.norm1(inputs)).unflatten(2, (3, HEADS, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = inputs + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = hidden + self.down(self.gelu(self.up(self.norm2(hidden))))
        return out


class Gpt(nn.Module):
    """Six blocks of width 256; the output weights are the token embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores of the next tokens, (rows, positions, VOCABULARY)."""
        places = torch.arange(inputs.shape[1], device=inputs.device)
        out: Tensor = self.head(
            self.norm(self.blocks(self.tokens(inputs) + self.positions(places)))
        )
        return out


@dataclass(frozen=True)
class Case:
    """A network with a batch.

    Attributes:
        name: For the table.
        build: Makes the network.
        shape: Of one row; None for sequences of tokens.
        rows: In a batch.
        repeats: Turns of measuring.
        bar: Training passes that the exact empirical Fisher diagonal may cost.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None
    rows: int
    repeats: int
    bar: float

    def batch(self, rows: int) -> Batch:
        """Draw random inputs and labels."""
        if self.shape is None:
            tokens = torch.randint(0, VOCABULARY, (rows, CONTEXT + 1))
            return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        return Batch(torch.randn(rows, *self.shape), torch.randint(0, 10, (rows,)))


CASES = (
    Case("MLP 784-256-256-10", mlp, (784,), 64, 101, 1.10),
    Case("GPT 6x256, vocabulary 5000, context 128, tied", Gpt, None, 8, 5, 1.10),
    Case("LeNet", lenet, (1, 28, 28), 64, 21, 1.30),
    Case("ResNet-8", resnet8, (3, 32, 32), 64, 5, 1.30),
)
