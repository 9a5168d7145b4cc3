"""Small transformers, and other networks whose parameters belong to no simple layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from transformers import GPT2Config, GPT2LMHeadModel

from app.unlearning.objective import IGNORED, Objective
from app.unlearning.rows import TensorRows
from tests.unlearning.curvature.networks import Case

VOCABULARY, LENGTH = 7, 4


class Block(nn.Module):
    """Causal attention and a dense part, with norms in front."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        split = self.qkv(self.norm(inputs)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = inputs + self.out(mixed.transpose(1, 2).flatten(2))
        return hidden + self.narrow(functional.gelu(self.wide(self.after(hidden))))


class Gpt(nn.Module):
    """A language model whose positions are a free parameter, longer than the rows."""

    def __init__(self, *, tied: bool = False, transposed: bool = False, width: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(1, LENGTH + 2, width))
        self.blocks = nn.ModuleList(Block(width, 2) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.transposed = transposed
        if not transposed:
            self.head = nn.Linear(width, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.tokens(inputs) + self.positions[:, : inputs.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        if self.transposed:
            return self.norm(hidden) @ self.tokens.weight.t()
        return self.head(self.norm(hidden))


def gpt2() -> nn.Module:
    """GPT-2 of Hugging Face: Conv1D, tied weights, positions without a row axis."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH + 1,
        n_embd=4,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


class ClassToken(nn.Module):
    """A transformer of patches: a token of its own in front, positions, scaled residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, 4))
        self.positions = nn.Parameter(torch.randn(LENGTH + 1, 4))
        self.scale = nn.Parameter(torch.rand(4))
        self.shift = nn.Parameter(torch.randn(()))
        self.norm = nn.RMSNorm(4, eps=1e-3)
        self.layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, activation="gelu")
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = torch.cat([self.first.expand(len(inputs), -1, -1), inputs], 1) + self.positions
        tokens = tokens + self.scale * self.layer(tokens)
        return self.head(self.norm(1.5 - (tokens / (2.0 + self.shift)))[:, 0])


class CrossAttention(nn.Module):
    """Attention from one part of a row to another, with a mask and with weights asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.asking = nn.Parameter(torch.randn(2, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        asking = self.asking.expand(len(inputs), 2, 4)
        unread = inputs[:, :, 0] > 1.0
        unread[:, 0] = False
        mixed, weights = self.attention(asking, inputs, inputs, key_padding_mask=unread)
        causal = torch.full((LENGTH, LENGTH), -torch.inf, dtype=inputs.dtype).triu(1)
        inputs = self.attention(inputs, inputs, inputs, attn_mask=causal, need_weights=False)[0]
        return self.head(mixed.sum(1) + inputs.mean(1) + weights.sum((1, 2))[:, None])


class TokenMixer(nn.Module):
    """Free matrices, a column scaled by a length of its own, and a vector spread over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 5) / 2)
        self.spread = nn.Parameter(torch.randn(5))
        self.layer = parametrizations.weight_norm(nn.Linear(5, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(inputs @ self.matrix + self.spread.expand(LENGTH, 5))
        return self.layer(hidden).mean(1)


def _float(rows: int) -> Tensor:
    return torch.randn(rows, LENGTH, 4, dtype=torch.float64)


LANGUAGE_MODELS: dict[str, Callable[[], nn.Module]] = {
    "gpt": Gpt,
    "tied gpt": lambda: Gpt(tied=True),
    "gpt with a transposed tied weight": lambda: Gpt(transposed=True),
    "gpt2 of hugging face": gpt2,
}

FREE: dict[str, Callable[[], nn.Module]] = {
    "class token": ClassToken,
    "cross-attention": CrossAttention,
    "token mixer": TokenMixer,
}

TRANSFORMERS = (*LANGUAGE_MODELS, *FREE)


def transformer(name: str, rows: int = 5, *, weighted: bool = False) -> Case:
    torch.manual_seed(5)
    is_language = name in LANGUAGE_MODELS
    model = (LANGUAGE_MODELS if is_language else FREE)[name]().double().eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    weights = torch.rand(rows, dtype=torch.float64) + 0.5 if weighted else None
    if is_language:
        inputs = torch.randint(0, VOCABULARY, (rows, LENGTH))
        targets = torch.randint(0, VOCABULARY, (rows, LENGTH))
        targets[0, 2:] = IGNORED
    else:
        inputs, targets = _float(rows), torch.randint(0, 3, (rows,))
    return Case(model, Objective("cross_entropy"), TensorRows(inputs, targets, weights))
