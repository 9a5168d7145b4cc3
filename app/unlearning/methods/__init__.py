"""The methods. Importing this package registers all of them."""

from app.unlearning.methods.auto import Auto
from app.unlearning.methods.certified_descent import CertifiedDescent
from app.unlearning.methods.certified_removal import CertifiedRemoval
from app.unlearning.methods.certified_update import CertifiedUpdate
from app.unlearning.methods.controls import LastLayer, RandomMask
from app.unlearning.methods.fine_tune import FineTune
from app.unlearning.methods.influence import Influence
from app.unlearning.methods.method import Method
from app.unlearning.methods.reference_distillation import ReferenceDistillation
from app.unlearning.methods.registry import (
    control_names,
    describe_methods,
    make_method,
    method_names,
    parameters_schema,
    register,
    retained_rows,
    shared_parameters,
)
from app.unlearning.methods.retrain import Retrain
from app.unlearning.methods.saps import Saps
from app.unlearning.methods.shrinking_mask import ShrinkingMask
from app.unlearning.methods.sparse_newton import SparseNewton

__all__ = [
    "Auto",
    "CertifiedDescent",
    "CertifiedRemoval",
    "CertifiedUpdate",
    "FineTune",
    "Influence",
    "LastLayer",
    "Method",
    "RandomMask",
    "ReferenceDistillation",
    "Retrain",
    "Saps",
    "ShrinkingMask",
    "SparseNewton",
    "control_names",
    "describe_methods",
    "make_method",
    "method_names",
    "parameters_schema",
    "register",
    "retained_rows",
    "shared_parameters",
]
