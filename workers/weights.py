"""Weights files into networks and back.

Loading maps the file into memory: pages are read when touched and belong to the page cache, so
a network costs no anonymous memory until something writes to its tensors. The mapping is
private: the file itself is never changed, and outlives its name if the name is removed.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor, nn

from app.infra.weights_file import WeightsHeader, read_header
from app.unlearning.errors import ArchitectureError, WeightsMismatch

CHUNK_BYTES: Final = 4 * 2**20
MAX_MISMATCHES: Final = 5

_DTYPE_NAMES: Final = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}


@dataclass(frozen=True)
class SavedWeights:
    """A weights file that has been written.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits, of the whole file.
        size: Its bytes.
    """

    digest: str
    size: int


def load_weights(path: Path, module: nn.Module) -> nn.Module:
    """Give a network the weights of a safetensors file.

    Values are not looked at (``app.infra.finite_values.check_finite`` does that).

    Args:
        path: The file.
        module: A network as ``app.unlearning.architectures.build`` makes it, on the meta device.
            Its parameters and buffers are replaced.

    Returns:
        ``module``, on the CPU.

    Raises:
        ArchitectureError: The network keeps tensors that its state dict does not name.
        WeightsFileError: The file is not a sound safetensors file.
        WeightsMismatch: Names, shapes or dtypes differ; the first tensors at fault are named.
    """
    check_match(read_header(path), module)
    with safe_open(path, framework="pt", device="cpu") as file:
        tensors = {name: _aligned(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - not a mapping
    module.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ArchitectureError("/builder", "the network keeps tensors outside its state dict")
    return module


def check_match(header: WeightsHeader, module: nn.Module) -> None:
    """Compare a file's table of contents with what a network needs.

    Args:
        header: The checked header.
        module: The network; its values are not looked at.

    Raises:
        WeightsMismatch: Names, shapes or dtypes differ.
    """
    found = {entry.name: entry for entry in header.tensors}
    faults = []
    for name, tensor in module.state_dict().items():
        entry = found.pop(name, None)
        dtype = _DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
        if entry is None:
            faults.append(f"{name}: missing")
        elif entry.shape != tuple(tensor.shape):
            faults.append(f"{name}: shape {list(entry.shape)} instead of {list(tensor.shape)}")
        elif entry.dtype != dtype:
            faults.append(f"{name}: dtype {entry.dtype} instead of {dtype}")
    faults += [f"{name}: unexpected" for name in found]
    if faults:
        raise WeightsMismatch(faults[:MAX_MISMATCHES], len(faults))


def save_weights(tensors: Mapping[str, Tensor], path: Path) -> SavedWeights:
    """Write a safetensors file that is complete or not there at all.

    The same tensors give the same bytes: widest dtypes first, so that every tensor is aligned,
    then by name. Tensors are written in slices of 4 MiB; a tensor that is not contiguous is
    copied first, one at a time.

    Args:
        tensors: A state dict.
        path: Where the file goes; a file of that name is replaced.

    Returns:
        Digest and size of the file.

    Raises:
        KeyError: A tensor has a dtype that the format does not know.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    digest, size = hashlib.sha256(), 0
    try:
        with partial.open("xb") as file:
            for part in _content(tensors):
                file.write(part)
                digest.update(part)
                size += len(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return SavedWeights(f"sha256:{digest.hexdigest()}", size)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of the file that ``save_weights`` would write."""
    digest = hashlib.sha256()
    for part in _content(tensors):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _content(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in ordered:
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # The data starts at a multiple of eight bytes.
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield from _slices(tensor.detach())


def _slices(tensor: Tensor) -> Iterator[memoryview]:
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    flat = tensor.reshape(-1).view(torch.uint8)
    for start in range(0, len(flat), CHUNK_BYTES):
        yield flat[start : start + CHUNK_BYTES].cpu().numpy().data


def _aligned(tensor: Tensor) -> Tensor:
    # The format does not ask for alignment, but vectorised kernels may.
    return tensor if tensor.data_ptr() % tensor.element_size() == 0 else tensor.clone()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
