"""Where the numbers are crunched: CUDA when it is present, the CPU otherwise."""

import torch

from app.infra.settings import Settings


class DeviceMissing(Exception):
    """The settings ask for a device that this machine does not have."""


def choose_device(config: Settings) -> torch.device:
    """Return the device that ``LETHE_DEVICE`` names; ``auto`` takes CUDA when it is present.

    Raises:
        DeviceMissing: CUDA is asked for and not there, or the name means nothing.
    """
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise DeviceMissing(f"no device is called {config.device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing("this machine has no CUDA device")
    return device


def prepare_torch(config: Settings) -> torch.device:
    """Set the number of threads of this process and return its device."""
    torch.set_num_threads(config.threads)
    return choose_device(config)
