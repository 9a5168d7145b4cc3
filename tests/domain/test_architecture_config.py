"""The check without torch and the builder with torch judge every architecture alike."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app.domain
from app.domain.architecture_config import TensorShape, check_architecture
from app.domain.errors import Refused
from app.unlearning.architectures import build, describe
from app.unlearning.architectures.layers import LAYERS, Argument
from app.unlearning.errors import ArchitectureError

NAMES = [*LAYERS, "residual"]


def sensible(argument: Argument) -> st.SearchStrategy[Any]:
    """Draw values that mostly obey the allow-list, small enough to build quickly."""
    low = 0 if argument.low is None else int(argument.low)
    small = st.integers(low, min(int(argument.high or 6), low + 6, 6) if low < 6 else low)
    values: dict[str, st.SearchStrategy[Any]] = {
        "integer": small,
        "number": st.floats(argument.low, argument.high),
        "boolean": st.booleans(),
        "choice": st.sampled_from(argument.choices or ("none",)),
        "sizes": small | st.lists(small, min_size=argument.rank or 1, max_size=argument.rank or 1),
        "shape": small | st.lists(small, min_size=1, max_size=3),
    }
    drawn = values[argument.kind]
    if argument.choices:
        drawn |= st.sampled_from(argument.choices)
    return drawn | st.none() if argument.is_nullable else drawn


NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**40),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.integers(-2, 5) | st.none() | st.booleans(), max_size=9),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)


@st.composite
def layers(draw: st.DrawFn, depth: int = 0) -> Any:
    name = draw(st.sampled_from(NAMES))
    described: dict[str, Any] = {"type": name}
    if name == "residual":
        parts = st.lists(layers(depth + 1), max_size=2) if depth < 3 else st.just([])
        described["layers"] = draw(parts)
        if draw(st.booleans()):
            described["shortcut"] = draw(parts | st.none())
    else:
        for argument, spec in LAYERS[name].arguments.items():
            if spec.is_required or draw(st.booleans()):
                described[argument] = draw(sensible(spec))
    if draw(st.integers(0, 9)) == 0:
        key = st.sampled_from([*described, "bias", "stride", "a/b~c"])
        described[draw(key)] = draw(NONSENSE)
    return described


def judge_with_torch(architecture: dict[str, Any]) -> Any:
    try:
        module = build(architecture)
    except ArchitectureError as error:
        return error.pointer, error.reason
    trained = {name for name, _ in module.named_parameters()}
    return sorted(
        (name, tuple(t.shape), str(t.dtype).removeprefix("torch."), name in trained)
        for name, t in module.state_dict().items()
    )


def judge_without_torch(architecture: dict[str, Any]) -> Any:
    try:
        checked = check_architecture(architecture)
    except Refused as error:
        return error.errors[0].pointer, error.errors[0].detail
    assert checked.tensors is not None
    return sorted((t.name, t.shape, t.dtype, t.is_trained) for t in checked.tensors)


@settings(max_examples=300, deadline=None)
@given(st.lists(layers() | NONSENSE, min_size=1, max_size=4) | NONSENSE)
def test_both_sides_agree_on_any_configuration(described: Any) -> None:
    architecture = {"builder": "sequential", "config": {"layers": described}}
    assert judge_without_torch(architecture) == judge_with_torch(architecture)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_both_sides_know_the_tensors_of_every_layer(name: str, data: st.DataObject) -> None:
    described: dict[str, Any] = {"type": name}
    for argument, spec in LAYERS[name].arguments.items():
        if spec.is_required or data.draw(st.booleans()):
            described[argument] = data.draw(sensible(spec))
    architecture = {"builder": "sequential", "config": {"layers": [described]}}
    assert judge_without_torch(architecture) == judge_with_torch(architecture)


def test_limits_are_the_same_on_both_sides() -> None:
    relu, huge = {"type": "relu"}, {"type": "linear", "in_features": 2**20, "out_features": 2**12}
    deep: dict[str, Any] = relu
    for _ in range(9):
        deep = {"type": "residual", "layers": [deep]}
    for described in ([relu] * 1001, [relu] * 1000, [deep], deep["layers"], [huge], [huge] * 2):
        architecture = {"builder": "sequential", "config": {"layers": described}}
        assert judge_without_torch(architecture) == judge_with_torch(architecture)


def test_parameters_are_counted_without_buffers() -> None:
    checked = check_architecture({
        "builder": "sequential",
        "config": {
            "layers": [
                {"type": "linear", "in_features": 3, "out_features": 5},
                {"type": "batch_norm1d", "num_features": 5},
            ]
        },
    })
    assert checked.parameters == 3 * 5 + 5 + 5 + 5
    assert checked.tensors is not None
    assert TensorShape("1.num_batches_tracked", (), "int64", is_trained=False) in checked.tensors


@pytest.mark.parametrize(
    ("architecture", "pointer"),
    [
        ([], "/architecture"),
        ({"builder": "sequential"}, "/architecture/config"),
        ({"builder": 3, "config": {}}, "/architecture/builder"),
        ({"builder": "nonsense", "config": {}}, "/architecture/builder"),
        ({"builder": "sequential", "config": {"layers": [{"type": "relu", "x": 1}]}},
         "/architecture/config/layers/0/x"),
    ],
)  # fmt: skip
def test_the_first_fault_is_named_by_its_place_in_the_request(
    architecture: Any, pointer: str
) -> None:
    with pytest.raises(Refused) as caught:
        check_architecture(architecture, "/architecture")
    assert caught.value.code == "invalid-architecture"
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_the_committed_allow_list_is_what_the_builders_allow() -> None:
    committed = Path(app.domain.__file__).with_name("architectures.json").read_text("utf-8")
    assert json.loads(committed) == describe(), "run scripts/generate_architectures.py"


def test_the_check_needs_no_torch() -> None:
    program = "import sys, app.domain.architecture_config; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "False"
