"""Choosing the encoder of a version."""

from collections.abc import Mapping
from typing import Any

from app.infra.rows import ColumnSpec, check_inputs
from app.infra.rows.input_kinds import (
    BagOfWordsInputs,
    ImageInputs,
    InputSpec,
    TableInputs,
    VectorInputs,
)
from workers.inputs.bag_of_words import BagOfWordsEncoder
from workers.inputs.base import Encoder
from workers.inputs.image import ImageEncoder
from workers.inputs.table import TableEncoder
from workers.inputs.vector import VectorEncoder


def make_encoder(
    declaration: Mapping[str, Any], columns: Mapping[str, ColumnSpec] | None = None
) -> Encoder[InputSpec]:
    """Return the encoder that a version's ``inputs`` object declares.

    Args:
        declaration: The object; decoded JSON, hence ``Any``.
        columns: Columns of the data set to hold it against.

    Returns:
        The encoder.

    Raises:
        BadInputs: The declaration is wrong or does not fit the columns.
        TypeError: A kind is declared but no encoder is known for it.
    """
    spec = check_inputs(declaration, columns)
    match spec:
        case ImageInputs():
            return ImageEncoder(spec)
        case VectorInputs():
            return VectorEncoder(spec)
        case TableInputs():
            return TableEncoder(spec)
        case BagOfWordsInputs():
            return BagOfWordsEncoder(spec)
        case _:
            raise TypeError(f"no encoder for {type(spec).__name__}")
