"""Networks built from JSON are the networks torch would build."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from app.unlearning.architectures import build, initialise
from app.unlearning.architectures.blocks import Residual
from app.unlearning.architectures.layers import MAX_DEPTH, MAX_LAYERS
from app.unlearning.errors import ArchitectureError

LINEAR = {"type": "linear", "in_features": 4, "out_features": 4}


def sequential(*layers: Any) -> dict[str, Any]:
    return {"builder": "sequential", "config": {"layers": list(layers)}}


def test_the_example_of_the_contract_is_the_network_torch_builds() -> None:
    described = sequential(
        {"type": "conv2d", "in_channels": 1, "out_channels": 16, "kernel_size": 3, "padding": 1},
        {"type": "relu"},
        {"type": "max_pool2d", "kernel_size": 2},
        {"type": "flatten"},
        {"type": "linear", "in_features": 3136, "out_features": 10},
    )
    torch.manual_seed(7)
    expected = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 10),
    )

    network = initialise(described, seed=7)

    assert list(network.state_dict()) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(network(images), expected(images))


def test_a_residual_block_has_the_keys_of_the_contract_and_adds_both_paths() -> None:
    network = initialise(
        sequential(
            {"type": "tanh"},
            {
                "type": "residual",
                "layers": [LINEAR, {"type": "residual", "layers": [LINEAR]}],
                "shortcut": [{"type": "identity"}, LINEAR],
            },
        ),
        seed=0,
    )
    weights = network.state_dict()
    assert sorted(weights) == [
        "1.layers.0.bias",
        "1.layers.0.weight",
        "1.layers.1.layers.0.bias",
        "1.layers.1.layers.0.weight",
        "1.shortcut.1.bias",
        "1.shortcut.1.weight",
    ]

    def affine(prefix: str, x: torch.Tensor) -> torch.Tensor:
        return x @ weights[f"{prefix}.weight"].T + weights[f"{prefix}.bias"]

    x = torch.randn(3, 4)
    t = torch.tanh(x)
    u = affine("1.layers.0", t)
    expected = affine("1.layers.1.layers.0", u) + u + affine("1.shortcut.1", t)
    assert_close(network(x), expected)


@pytest.mark.parametrize("shortcut", [{}, {"shortcut": None}, {"shortcut": []}])
def test_without_a_shortcut_a_block_adds_its_input(shortcut: dict[str, Any]) -> None:
    block = {"type": "residual", "layers": [{"type": "identity"}], **shortcut}
    x = torch.randn(2, 3)
    assert torch.equal(build(sequential(block))(x), 2 * x)


def test_a_block_whose_paths_differ_in_shape_is_refused_instead_of_broadcast() -> None:
    block = Residual(nn.Sequential(nn.Linear(4, 1)))
    with pytest.raises(ValueError, match=r"\[2, 1\] and \[2, 4\]"):
        block(torch.ones(2, 4))


def test_words_flow_through_embedding_transpose_convolution_and_mean() -> None:
    network = initialise(
        sequential(
            {"type": "embedding", "num_embeddings": 9, "embedding_dim": 5},
            {"type": "transpose", "dim0": 1, "dim1": 2},
            {"type": "conv1d", "in_channels": 5, "out_channels": 6, "kernel_size": 3},
            {"type": "mean", "dim": 2},
        ),
        seed=3,
    )
    words = torch.randint(9, (4, 7))
    table = network.state_dict()["0.weight"]
    kernel, bias = network.state_dict()["2.weight"], network.state_dict()["2.bias"]
    windows = table[words].unfold(1, 3, 1)  # (4, 5 positions, 5 channels, 3)
    expected = torch.einsum("npcw,ocw->npo", windows, kernel).mean(1) + bias
    assert_close(network(words), expected)


def test_building_costs_no_memory_and_starts_in_eval_mode() -> None:
    network = build(sequential({"type": "linear", "in_features": 2**15, "out_features": 2**15}))
    assert all(p.is_meta for p in network.parameters())
    assert not network.training


def test_weights_can_be_assigned_to_what_was_built() -> None:
    described = sequential(
        LINEAR, {"type": "batch_norm1d", "num_features": 4}, {"type": "dropout", "p": 0.5}
    )
    filled = initialise(described, seed=1)
    built = build(described)
    built.load_state_dict(filled.state_dict(), assign=True)
    x = torch.randn(5, 4)
    assert torch.equal(built(x), filled.eval()(x))


def test_initialising_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    initialise(sequential(LINEAR), seed=9)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("layer", "pointer"),
    [
        ({"type": "lstm", "input_size": 4}, "/type"),
        ({"type": "Linear", "in_features": 4, "out_features": 4}, "/type"),
        ({"in_features": 4}, "/type"),
        ({"type": ["relu"]}, "/type"),
        ({"type": "relu", "inplace": True}, "/inplace"),
        ({"type": "linear", "in_features": 4}, "/out_features"),
        ({"type": "linear", "in_features": 4, "out_features": True}, "/out_features"),
        ({"type": "linear", "in_features": 4, "out_features": 4.0}, "/out_features"),
        ({"type": "linear", "in_features": 0, "out_features": 4}, "/in_features"),
        ({"type": "linear", "in_features": 2**24 + 1, "out_features": 4}, "/in_features"),
        ({**LINEAR, "bias": 1}, "/bias"),
        ({**LINEAR, "device": "cuda"}, "/device"),
        ({"type": "dropout", "p": float("nan")}, "/p"),
        ({"type": "dropout", "p": 1.01}, "/p"),
        ({"type": "gelu", "approximate": "erf"}, "/approximate"),
        ({"type": "max_pool2d", "kernel_size": [2, 2, 2]}, "/kernel_size"),
        ({"type": "max_pool2d", "kernel_size": [2, None]}, "/kernel_size"),
        ({"type": "group_norm", "num_groups": 3, "num_channels": 4}, "/num_channels"),
        ({"type": "layer_norm", "normalized_shape": [2**20, 2**20]}, "/normalized_shape"),
        ({"type": "layer_norm", "normalized_shape": []}, "/normalized_shape"),
        ({"type": "embedding", "num_embeddings": 4, "embedding_dim": 2, "padding_idx": 4},
         "/padding_idx"),
        ({"type": "flatten", "start_dim": 0}, "/start_dim"),
        ({"type": "mean", "dim": 0}, "/dim"),
        ({"type": "unflatten", "dim": 1, "unflattened_size": 4}, "/unflattened_size"),
        ({"type": "relu", "a/b~": 1}, "/a~1b~0"),
        ({"type": "residual"}, "/layers"),
        ({"type": "residual", "layers": []}, "/layers"),
        ({"type": "residual", "layers": [LINEAR, 3]}, "/layers/1"),
        ({"type": "residual", "layers": [LINEAR], "shortcut": {}}, "/shortcut"),
        ({"type": "residual", "layers": [LINEAR], "scale": 2}, "/scale"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_with_its_place(layer: Any, pointer: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        build(sequential({"type": "relu"}, layer))
    assert caught.value.pointer == f"/config/layers/1{pointer}"


@pytest.mark.parametrize("kind", ["conv1d", "conv2d"])
def test_convolutions_check_groups_and_same_padding(kind: str) -> None:
    convolution = {"type": kind, "in_channels": 4, "out_channels": 6, "kernel_size": 3}
    faults: list[tuple[dict[str, Any], str]] = [
        ({"groups": 3}, "in_channels"),
        ({"groups": 4}, "out_channels"),
        ({"padding": "same", "stride": 2}, "padding"),
        ({"padding": "half"}, "padding"),
        ({"padding_mode": "mirror"}, "padding_mode"),
    ]
    for extra, pointer in faults:
        with pytest.raises(ArchitectureError) as caught:
            build(sequential({**convolution, **extra}))
        assert caught.value.pointer == f"/config/layers/0/{pointer}"
    build(sequential({**convolution, "groups": 2, "padding": "same"}))


@pytest.mark.parametrize(
    ("architecture", "pointer"),
    [
        ({}, "/builder"),
        ({"builder": "unheard_of", "config": {}}, "/builder"),
        ({"builder": "sequential"}, "/config"),
        ({"builder": "sequential", "config": []}, "/config"),
        ({"builder": "sequential", "config": {}}, "/config/layers"),
        ({"builder": "sequential", "config": {"layers": []}}, "/config/layers"),
        ({"builder": "sequential", "config": {"layers": [LINEAR], "x": 1}}, "/config/x"),
        ({"builder": "sequential", "config": {"layers": [LINEAR]}, "code": "x"}, "/code"),
    ],
)
def test_the_frame_of_an_architecture_is_checked(architecture: Any, pointer: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        build(architecture)
    assert caught.value.pointer == pointer


def test_size_depth_and_number_of_layers_are_bounded() -> None:
    huge = {"type": "linear", "in_features": 2**24, "out_features": 2**24}
    deep: dict[str, Any] = {"type": "relu"}
    for _ in range(MAX_DEPTH):
        deep = {"type": "residual", "layers": [deep]}
    build(sequential(deep))
    for layers in ([huge], [{"type": "residual", "layers": [deep]}]):
        with pytest.raises(ArchitectureError):
            build(sequential(*layers))
        with pytest.raises(ArchitectureError):
            initialise(sequential(*layers), seed=0)
    build(sequential(*[{"type": "relu"}] * MAX_LAYERS))
    with pytest.raises(ArchitectureError, match="more than"):
        build(sequential(*[{"type": "relu"}] * (MAX_LAYERS + 1)))
