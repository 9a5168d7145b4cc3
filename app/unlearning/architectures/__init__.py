"""Networks from declared architectures: no code comes with a model.

``build`` makes a network without values, ``initialise`` one with fresh values. A builder is
one file here, or an entry point of the group ``lethe.architectures``.
"""

from app.unlearning.architectures import sequential as _sequential  # noqa: F401 - registers itself
from app.unlearning.architectures.activations import Forward, trace_forward
from app.unlearning.architectures.description import describe
from app.unlearning.architectures.registry import build, builder_names, initialise, register

__all__ = [
    "Forward",
    "build",
    "builder_names",
    "describe",
    "initialise",
    "register",
    "trace_forward",
]
