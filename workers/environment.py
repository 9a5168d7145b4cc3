"""What the bits of a result depend on, beside the inputs: the machine and how it is set.

On one class of machine, with one number of threads, two runs agree bit for bit on the CPU; a
difference in any of these facts changes the last bits. Some GPU kernels add in an order of their
own: there bits are not promised even on one machine.
"""

import os
import platform
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)
"""Variables by which the libraries behind torch choose their kernels."""
CPU_FILE = Path("/proc/cpuinfo")


def environment(device: torch.device) -> dict[str, Any]:
    """Return the facts of this process, for a run on a device."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "torch_commit": str(torch.version.git_version),
        # Names the versions of MKL, oneDNN and OpenMP that torch was built with.
        "torch_build": sha256(torch.__config__.show().encode()).hexdigest(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "device": device.type,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = str(torch.version.cuda)
    return facts


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what is not as it was, such as ``threads: 2 instead of 1``."""
    return [
        f"{name}: {now.get(name, 'none')} instead of {recorded.get(name, 'none')}"
        for name in sorted({*recorded, *now})
        if recorded.get(name) != now.get(name)
    ]


def _cpu() -> str:
    """Return the model of the CPU: two of one capability may still run other kernels."""
    if CPU_FILE.exists():
        for line in CPU_FILE.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()
