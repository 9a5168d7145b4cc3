"""What the weights-file check lets through is a sound safetensors file; nothing else is."""

import io
import json
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from app.infra import finite_values
from app.infra.finite_values import check_finite
from app.infra.weights_file import (
    DTYPE_BYTES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    BadHeader,
    BadOffsets,
    DuplicateTensor,
    ForeignFormat,
    HeaderLength,
    NotFinite,
    TooManyTensors,
    UnknownDtype,
    WeightsFileError,
    WrongSize,
    check_prefix,
    read_header,
)

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def framed(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> Any:
    return {
        "dtype": dtype,
        "shape": [end - begin] if shape is None else shape,
        "data_offsets": [begin, end],
    }


@pytest.fixture
def weights(tmp_path: Path) -> Any:
    path = tmp_path / "weights"

    def write(content: bytes) -> Path:
        path.write_bytes(content)
        return path

    return write


def test_a_file_of_the_safetensors_library_is_read_back(weights: Any) -> None:
    tensors = {
        "0.weight": torch.randn(3, 4),
        "0.bias": torch.randn(3).half(),
        "1.num_batches_tracked": torch.tensor(7),
        "2.weight": torch.randn(2, 2).bfloat16(),
        "3.empty": torch.empty(0, 5),
        "4.mask": torch.tensor([True, False]),
    }
    content = save(tensors, metadata={"format": "pt"})
    header = read_header(weights(content))

    assert header.metadata == {"format": "pt"}
    assert header.size == len(content)
    assert {e.name for e in header.tensors} == tensors.keys()
    for e in header.tensors:
        stored = torch.frombuffer(bytearray(content), dtype=torch.uint8)[e.begin : e.end]
        tensor = tensors[e.name]
        assert e.shape == tuple(tensor.shape)
        expected = tensor.reshape(-1).view(torch.uint8)
        assert torch.equal(stored, expected)
    assert {e.name: e.dtype for e in header.tensors} == {
        "0.weight": "F32",
        "0.bias": "F16",
        "1.num_batches_tracked": "I64",
        "2.weight": "BF16",
        "3.empty": "F32",
        "4.mask": "BOOL",
    }
    check_finite(weights(content), header)


def test_a_file_without_tensors_is_a_file(weights: Any) -> None:
    assert read_header(weights(framed({}))).tensors == ()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (framed({"a": entry(0, 4)}, b"1234" * 2), BadOffsets),
        (framed({"a": entry(0, 4)}, b"123"), BadOffsets),
        (framed({"a": entry(1, 4)}, b"1234"), BadOffsets),
        (framed({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"), BadOffsets),
        (framed({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"), BadOffsets),
        (framed({"a": entry(0, 2), "b": entry(3, 4)}, b"1234"), BadOffsets),
        (framed({"a": {**entry(0, 0), "data_offsets": [4, 0]}}, b"1234"), BadOffsets),
        (framed({"a": {**entry(0, 4), "data_offsets": [0, 4, 4]}}, b"1234"), BadOffsets),
        (framed({"a": {**entry(0, 4), "data_offsets": [False, 4]}}, b"1234"), BadOffsets),
        (framed({"a": {**entry(0, 4), "data_offsets": [-4, 0]}}, b"1234"), BadOffsets),
        (framed({"a": entry(0, 4, [3])}, b"1234"), WrongSize),
        (framed({"a": entry(0, 4, [4], "F32")}, b"1234"), WrongSize),
        (framed({"a": entry(0, 4, [2**62, 2**62])}, b"1234"), WrongSize),
        (framed({"a": entry(0, 4, [2**80])}, b"1234"), BadHeader),
        (framed({"a": entry(0, 4, [1] * 33)}, b"1234"), BadHeader),
        (framed({"a": entry(0, 4, [4.0])}, b"1234"), BadHeader),  # type: ignore[list-item]
        (framed({"a": entry(0, 4, dtype="C64")}, b"1234"), UnknownDtype),
        (framed({"a": entry(0, 4, dtype="f32")}, b"1234"), UnknownDtype),
        (framed({"a": {**entry(0, 4), "dtype": None}}, b"1234"), UnknownDtype),
        (framed({"a": {**entry(0, 4), "code": "x"}}, b"1234"), BadHeader),
        (framed({"a": {"dtype": "U8", "shape": [4]}}, b"1234"), BadHeader),
        (framed({"a": 3}), BadHeader),
        (framed({"": entry(0, 4)}, b"1234"), BadHeader),
        (framed({"a\n": entry(0, 4)}, b"1234"), BadHeader),
        (framed({"\ud800": entry(0, 4)}, b"1234"), BadHeader),
        (framed({"a" * 513: entry(0, 4)}, b"1234"), BadHeader),
        (framed({"__metadata__": {"format": 3}}), BadHeader),
        (framed({"__metadata__": []}), BadHeader),
        (framed(b'{"a": NaN}'), BadHeader),
        (framed(b"{not json"), BadHeader),
        (framed(b'{"\xff": 1}'), BadHeader),
        (framed(b'{"a": ' + b"9" * 5000 + b"}"), BadHeader),
        (framed(b'{"a": ' + b"[" * 50_000 + b"}"), BadHeader),
        (framed(b'{"a": {}, "a": {}}'), DuplicateTensor),
        (framed(b'{"a": {"dtype": "U8", "dtype": "U8"}}'), DuplicateTensor),
        (framed(b'{"__metadata__": {"a": "1", "a": "2"}}'), DuplicateTensor),
        (framed(b'{"a": [' + b"{}," * (MAX_TENSORS + 3) + b"1]}"), TooManyTensors),
        (framed(b'{"a": [' + b"[]," * (2 * MAX_TENSORS) + b"1]}"), TooManyTensors),
        (framed({"a": entry(0, 4)}, b"1234")[:40], HeaderLength),
        ((2**63).to_bytes(8, "little") + b"{}", HeaderLength),
        (framed(b"{" + b" " * MAX_HEADER_BYTES), HeaderLength),
        (bytes(4096), HeaderLength),
        (b"\x80\x02\x00\x00\x00\x00\x00\x00{", HeaderLength),
        (b"", ForeignFormat),
        (b"\x10", ForeignFormat),
        (framed(b'[{"a": 1}]'), ForeignFormat),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_error(weights: Any, content: bytes, error: Any) -> None:
    with pytest.raises(WeightsFileError) as caught:
        read_header(weights(content))
    assert type(caught.value) is error


def test_every_error_has_its_own_code() -> None:
    kinds = WeightsFileError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 9


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"")
    return stream.getvalue()


def _torch_file(*, is_zip: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(3)}, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return stream.getvalue()


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        *[(pickle.dumps({"a": [1.0, 2.0]}, protocol=n), "pickle") for n in range(6)],
        *[(pickle.dumps([1.0] * 10_000, protocol=n), "pickle") for n in range(6)],
        (_torch_file(is_zip=True), "zip archive (.pt, .pth, .pt2, .npz)"),
        (_torch_file(is_zip=False), "pickle"),
        (_zip(), "zip archive (.pt, .pth, .pt2, .npz)"),
        (_tar(), "tar archive"),
        (_npy(), "numpy (.npy)"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "hdf5"),
        (b"PAR1" + bytes(30), "parquet"),
        (b"GGUF" + bytes(30), "gguf"),
        (b'{"layers": []}', "json text"),
        (b"hello, world, hello", "unknown"),
    ],
)
def test_other_formats_are_known_by_their_bytes(weights: Any, content: bytes, name: str) -> None:
    with pytest.raises(ForeignFormat) as caught:
        read_header(weights(content))
    assert caught.value.format == name
    with pytest.raises(ForeignFormat):
        check_prefix(content[:512])


@quick
@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(content)
    with pytest.raises(WeightsFileError):
        read_header(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
almost_entries = st.fixed_dictionaries({
    "dtype": st.sampled_from([*DTYPE_BYTES, "F4"]) | json_values,
    "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
    "data_offsets": st.lists(st.integers(-1, 20), min_size=2, max_size=2) | json_values,
})


@quick
@given(
    st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), almost_entries | json_values),
    st.binary(max_size=20),
)
def test_arbitrary_headers_are_judged_like_the_library_or_stricter(
    tmp_path: Path, header: dict[str, Any], data: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(framed(header, data))
    try:
        checked = read_header(path)
        check_finite(path, checked)
    except WeightsFileError:
        return
    with safe_open(path, framework="np") as theirs:
        assert set(theirs.keys()) == {e.name for e in checked.tensors}


@quick
@given(st.data())
def test_a_damaged_byte_is_noticed_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    tensors = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
    content = bytearray(save(tensors))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "file"
    path.write_bytes(content)
    try:
        checked = read_header(path)
    except WeightsFileError:
        return
    with safe_open(path, framework="np") as theirs:
        assert set(theirs.keys()) == {e.name for e in checked.tensors}


FLOATS = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("chunk", [16, 4 * 2**20])
def test_one_bad_value_anywhere_is_found(
    weights: Any, monkeypatch: pytest.MonkeyPatch, dtype: Any, value: float, chunk: int
) -> None:
    monkeypatch.setattr(finite_values, "CHUNK_BYTES", chunk)
    for position in (0, 20, 40):
        bad = torch.linspace(-3, 3, 41).to(dtype)
        bad[position] = torch.tensor(value).to(dtype)
        if not bad.float().isnan().any() and not bad.float().isinf().any():
            continue  # Some torch releases saturate infinity in float8_e4m3fn.
        path = weights(save({"good": torch.ones(5).to(dtype), "bad": bad}))
        header = read_header(path)
        assert {e.dtype for e in header.tensors} == {FLOATS[dtype]}
        with pytest.raises(NotFinite) as caught:
            check_finite(path, header)
        assert caught.value.names == ("bad",)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_finite_number_is_finite(weights: Any, dtype: Any) -> None:
    info = torch.finfo(dtype)
    extremes = torch.tensor([info.max, info.min, info.tiny, 0.0, -0.0], dtype=torch.float64)
    path = weights(save({"a": extremes.to(dtype)}))
    check_finite(path, read_header(path))


def test_integers_of_any_bits_are_finite(weights: Any) -> None:
    path = weights(save({"a": torch.tensor([-1, 2**63 - 1]), "b": torch.tensor([True])}))
    check_finite(path, read_header(path))


def test_only_the_first_few_bad_tensors_are_named(weights: Any) -> None:
    path = weights(save({f"t{i}": torch.tensor([float("nan")]) for i in range(9)}))
    with pytest.raises(NotFinite) as caught:
        check_finite(path, read_header(path))
    assert (len(caught.value.names), caught.value.count) == (5, 9)


def test_a_file_cut_short_while_it_is_scanned_is_an_error(weights: Any) -> None:
    content = save({"a": torch.ones(100)})
    header = read_header(weights(content))
    with pytest.raises(BadOffsets, match="cut short"):
        check_finite(weights(content[:-4]), header)


MEMORY_PROGRAM = """
import sys
from pathlib import Path
from app.infra.finite_values import check_finite
from app.infra.weights_file import read_header

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

before = anonymous()
header = read_header(Path(sys.argv[1]))
check_finite(Path(sys.argv[1]), header)
print(anonymous() - before, "torch" in sys.modules)
"""


def test_scanning_takes_constant_memory_and_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 100 * 2**20
    with path.open("wb") as file:
        file.write(framed({"a": entry(0, size, [size // 4], "F32")}))
        file.truncate(file.tell() + size)
    answer = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM, str(path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    kilobytes, loads_torch = answer.stdout.split()
    assert int(kilobytes) < 30_000
    assert loads_torch == "False"
