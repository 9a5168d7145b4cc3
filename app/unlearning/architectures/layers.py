"""The layers a ``sequential`` architecture may use: an allow-list, as data.

Names are torch's class names in snake_case, arguments are torch's own. Left out on purpose:

* ``inplace``: it overwrites the input that a residual block still has to add;
* ``track_running_stats``: without running statistics a row's output depends on its batch;
* ``max_norm`` of embeddings: it rewrites the weights during a forward pass;
* dimension 0 wherever a dimension is named: rows must not be mixed.

``mean`` and ``transpose`` are ours (torch has no such modules): with them an embedding can
feed a linear layer or a convolution.

The table also says which tensors a layer holds, so that processes without torch, which get
it as JSON (see ``describe``), can tell the names and shapes of an architecture's weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torch import nn

from app.unlearning.architectures.blocks import Mean, Transpose

MAX_LAYERS: Final = 1000
"""Layers in one architecture, those of residual blocks and the blocks themselves included."""
MAX_DEPTH: Final = 8
"""Residual blocks inside one another."""
MAX_ELEMENTS: Final = 2**31
"""Scalars in all tensors of an architecture together: 8 GiB of float32."""
MAX_SIZE: Final = 2**24
"""One size: features, vocabulary, product of a shape."""
MAX_CHANNELS: Final = 2**16
MAX_WINDOW: Final = 2**10
"""Kernel sizes, strides, paddings, dilations. With ``MAX_CHANNELS`` it keeps the element
count of any single tensor below 2**53, far from an overflow."""
MAX_DIMENSIONS: Final = 8

PADDING_MODES: Final = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class Argument:
    """One argument of a layer and the values it may take.

    Attributes:
        kind: ``integer``, ``number``, ``boolean``, ``choice``, ``sizes`` (an integer, or a
            list of exactly ``rank`` integers) or ``shape`` (an integer, or a list of one to
            ``MAX_DIMENSIONS`` integers whose product is at most ``MAX_SIZE``).
        low: Least allowed number; of each item, for lists.
        high: Largest allowed number; of each item, for lists.
        is_required: No default: the argument must be given.
        is_nullable: ``null`` is allowed; for ``sizes`` also as an item of the list when
            ``has_nullable_items``.
        has_nullable_items: See above.
        choices: Allowed strings; for ``sizes`` allowed instead of numbers.
        rank: Length of a ``sizes`` list.
        is_list: Only the list form is allowed.
        default: Torch's default, needed only where a rule or a tensor refers to it.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    is_required: bool = False
    is_nullable: bool = False
    has_nullable_items: bool = False
    choices: tuple[str, ...] = ()
    rank: int | None = None
    is_list: bool = False
    default: int | bool | None = None


@dataclass(frozen=True)
class TensorSpec:
    """One tensor a layer holds.

    Attributes:
        name: Last part of its state-dict key.
        shape: One entry for each dimension: a number, the name of an argument,
            ``a/b`` (quotient of two arguments) or ``*a`` (an argument of kind ``sizes`` or
            ``shape``, spread over its dimensions).
        when: The tensor exists only if all these boolean arguments are true.
        dtype: ``float32`` or ``int64``.
        is_trained: A parameter, not a buffer.
    """

    name: str
    shape: tuple[int | str, ...]
    when: tuple[str, ...] = ()
    dtype: str = "float32"
    is_trained: bool = True


@dataclass(frozen=True)
class Layer:
    """One allowed layer.

    Attributes:
        module: Called with the arguments as given.
        arguments: By torch's name.
        tensors: In state-dict order.
        rules: Conditions between arguments: ``("divides", a, b)``: ``a`` divides ``b``;
            ``("same_needs_unit_stride",)``; ``("index", a, b)``: ``-b <= a < b`` or null.
    """

    module: Callable[..., nn.Module]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    tensors: Sequence[TensorSpec] = ()
    rules: Sequence[tuple[str, ...]] = ()


def _size(high: int = MAX_SIZE) -> Argument:
    return Argument("integer", 1, high, is_required=True)


def _flag(*, default: bool) -> Argument:
    return Argument("boolean", default=default)


def _number(low: float, high: float, *, is_nullable: bool = False) -> Argument:
    return Argument("number", low, high, is_nullable=is_nullable)


def _window(rank: int, low: int = 1, **options: Any) -> Argument:
    return Argument("sizes", low, MAX_WINDOW, rank=rank, **options)


def _convolution(rank: int, module: Callable[..., nn.Module]) -> Layer:
    return Layer(
        module,
        {
            "in_channels": _size(MAX_CHANNELS),
            "out_channels": _size(MAX_CHANNELS),
            "kernel_size": _window(rank, is_required=True),
            "stride": _window(rank, default=1),
            "padding": _window(rank, 0, choices=("same", "valid"), default=0),
            "dilation": _window(rank),
            "groups": Argument("integer", 1, MAX_CHANNELS, default=1),
            "bias": _flag(default=True),
            "padding_mode": Argument("choice", choices=PADDING_MODES),
        },
        (
            TensorSpec("weight", ("out_channels", "in_channels/groups", "*kernel_size")),
            TensorSpec("bias", ("out_channels",), when=("bias",)),
        ),
        (
            ("divides", "groups", "in_channels"),
            ("divides", "groups", "out_channels"),
            ("same_needs_unit_stride",),
        ),
    )


def _batch_norm(module: Callable[..., nn.Module]) -> Layer:
    return Layer(
        module,
        {
            "num_features": _size(),
            "eps": _number(0, 1),
            "momentum": _number(0, 1, is_nullable=True),
            "affine": _flag(default=True),
        },
        (
            TensorSpec("weight", ("num_features",), when=("affine",)),
            TensorSpec("bias", ("num_features",), when=("affine",)),
            TensorSpec("running_mean", ("num_features",), is_trained=False),
            TensorSpec("running_var", ("num_features",), is_trained=False),
            TensorSpec("num_batches_tracked", (), dtype="int64", is_trained=False),
        ),
    )


def _max_pool(rank: int, module: Callable[..., nn.Module]) -> Layer:
    return Layer(
        module,
        {
            "kernel_size": _window(rank, is_required=True),
            "stride": _window(rank, is_nullable=True),
            "padding": _window(rank, 0),
            "dilation": _window(rank),
            "ceil_mode": _flag(default=False),
        },
    )


def _average_pool(rank: int, module: Callable[..., nn.Module], **more: Argument) -> Layer:
    return Layer(
        module,
        {
            "kernel_size": _window(rank, is_required=True),
            "stride": _window(rank, is_nullable=True),
            "padding": _window(rank, 0),
            "ceil_mode": _flag(default=False),
            "count_include_pad": _flag(default=True),
            **more,
        },
    )


def _adaptive_pool(rank: int, module: Callable[..., nn.Module]) -> Layer:
    output = _window(rank, is_required=True, is_nullable=True, has_nullable_items=True)
    return Layer(module, {"output_size": output})


def _dropout(module: Callable[..., nn.Module]) -> Layer:
    return Layer(module, {"p": _number(0, 1)})


_DIMENSION = Argument("integer", 1, MAX_DIMENSIONS - 1, is_required=True)

LAYERS: Final[Mapping[str, Layer]] = {
    "linear": Layer(
        nn.Linear,
        {"in_features": _size(), "out_features": _size(), "bias": _flag(default=True)},
        (
            TensorSpec("weight", ("out_features", "in_features")),
            TensorSpec("bias", ("out_features",), when=("bias",)),
        ),
    ),
    "conv1d": _convolution(1, nn.Conv1d),
    "conv2d": _convolution(2, nn.Conv2d),
    "embedding": Layer(
        nn.Embedding,
        {
            "num_embeddings": _size(),
            "embedding_dim": _size(),
            "padding_idx": Argument("integer", -MAX_SIZE, MAX_SIZE, is_nullable=True),
        },
        (TensorSpec("weight", ("num_embeddings", "embedding_dim")),),
        (("index", "padding_idx", "num_embeddings"),),
    ),
    "batch_norm1d": _batch_norm(nn.BatchNorm1d),
    "batch_norm2d": _batch_norm(nn.BatchNorm2d),
    "layer_norm": Layer(
        nn.LayerNorm,
        {
            "normalized_shape": Argument("shape", 1, MAX_SIZE, is_required=True),
            "eps": _number(0, 1),
            "elementwise_affine": _flag(default=True),
            "bias": _flag(default=True),
        },
        (
            TensorSpec("weight", ("*normalized_shape",), when=("elementwise_affine",)),
            TensorSpec("bias", ("*normalized_shape",), when=("elementwise_affine", "bias")),
        ),
    ),
    "group_norm": Layer(
        nn.GroupNorm,
        {
            "num_groups": _size(MAX_CHANNELS),
            "num_channels": _size(MAX_CHANNELS),
            "eps": _number(0, 1),
            "affine": _flag(default=True),
        },
        (
            TensorSpec("weight", ("num_channels",), when=("affine",)),
            TensorSpec("bias", ("num_channels",), when=("affine",)),
        ),
        (("divides", "num_groups", "num_channels"),),
    ),
    "relu": Layer(nn.ReLU),
    "relu6": Layer(nn.ReLU6),
    "leaky_relu": Layer(nn.LeakyReLU, {"negative_slope": _number(0, 1e3)}),
    "elu": Layer(nn.ELU, {"alpha": _number(0, 1e3)}),
    "selu": Layer(nn.SELU),
    "gelu": Layer(nn.GELU, {"approximate": Argument("choice", choices=("none", "tanh"))}),
    "tanh": Layer(nn.Tanh),
    "sigmoid": Layer(nn.Sigmoid),
    "silu": Layer(nn.SiLU),
    "mish": Layer(nn.Mish),
    "softplus": Layer(nn.Softplus, {"beta": _number(1e-6, 1e3), "threshold": _number(0, 1e3)}),
    "softsign": Layer(nn.Softsign),
    "hardswish": Layer(nn.Hardswish),
    "hardsigmoid": Layer(nn.Hardsigmoid),
    "max_pool1d": _max_pool(1, nn.MaxPool1d),
    "max_pool2d": _max_pool(2, nn.MaxPool2d),
    "avg_pool1d": _average_pool(1, nn.AvgPool1d),
    "avg_pool2d": _average_pool(
        2, nn.AvgPool2d, divisor_override=Argument("integer", 1, MAX_SIZE, is_nullable=True)
    ),
    "adaptive_avg_pool1d": _adaptive_pool(1, nn.AdaptiveAvgPool1d),
    "adaptive_avg_pool2d": _adaptive_pool(2, nn.AdaptiveAvgPool2d),
    "adaptive_max_pool1d": _adaptive_pool(1, nn.AdaptiveMaxPool1d),
    "adaptive_max_pool2d": _adaptive_pool(2, nn.AdaptiveMaxPool2d),
    "dropout": _dropout(nn.Dropout),
    "dropout1d": _dropout(nn.Dropout1d),
    "dropout2d": _dropout(nn.Dropout2d),
    "flatten": Layer(
        nn.Flatten,
        {
            "start_dim": Argument("integer", 1, MAX_DIMENSIONS - 1),
            "end_dim": Argument("integer", -MAX_DIMENSIONS + 1, MAX_DIMENSIONS - 1),
        },
    ),
    "unflatten": Layer(
        nn.Unflatten,
        {
            "dim": _DIMENSION,
            "unflattened_size": Argument("shape", 1, MAX_SIZE, is_required=True, is_list=True),
        },
    ),
    "identity": Layer(nn.Identity),
    "mean": Layer(Mean, {"dim": _DIMENSION, "keepdim": _flag(default=False)}),
    "transpose": Layer(Transpose, {"dim0": _DIMENSION, "dim1": _DIMENSION}),
}
"""Every layer but ``residual``, which is a block (see ``sequential``)."""
