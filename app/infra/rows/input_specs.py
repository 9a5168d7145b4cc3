"""What a version declares about its inputs and targets, checked without torch.

``check_inputs`` reads the ``inputs`` object of a version and holds it against the columns of
the data set; the encoders of the workers are built from the same values.
"""

import math
from collections.abc import Callable

from app.infra.rows.columns import Cell, ColumnSpec
from app.infra.rows.document_fields import Fields, as_integer
from app.infra.rows.errors import BadInputs
from app.infra.rows.input_kinds import (
    BagOfWordsInputs,
    Columns,
    ImageInputs,
    InputSpec,
    OneHot,
    Standard,
    TableInputs,
    VectorInputs,
)

LARGEST_INPUT = 1 << 26
"""Most numbers in the inputs of one row; more would not be streamed in bounded memory."""


def check_inputs(declaration: object, columns: Columns | None = None) -> InputSpec:
    """Read the ``inputs`` object of a version.

    Args:
        declaration: Decoded JSON.
        columns: Columns of the data set; not looked at when None.

    Returns:
        The declaration with its defaults.

    Raises:
        BadInputs: The declaration is wrong or does not fit the columns.
    """
    kind = declaration.get("kind") if isinstance(declaration, dict) else None
    reader = INPUT_KINDS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise BadInputs("/kind", f"unknown; known: {', '.join(INPUT_KINDS)}")
    spec = reader(declaration)
    if math.prod(spec.sample_shape) > LARGEST_INPUT:
        raise BadInputs("", f"more than {LARGEST_INPUT} numbers in the inputs of one row")
    if columns is not None:
        spec.check(columns)
    return spec


def check_targets(objective: str, label: ColumnSpec | None) -> None:
    """Hold an objective against the label column of the data set.

    Raises:
        BadInputs: There is no label column, or its type does not fit the objective. The
            pointer is ``/objective``, into the version.
    """
    pointer = "/objective"
    if label is None:
        raise BadInputs(pointer, "the data set has no label column")
    if objective == "cross_entropy":
        fits = label.kind == "number" and not label.dtype.startswith("float")
    elif objective == "binary_cross_entropy":
        fits = label.kind == "number"
    elif objective == "mean_squared_error":
        fits = label.kind != "string"
    else:
        raise BadInputs(pointer, "has no targets in a row of this data set")
    if not fits:
        raise BadInputs(pointer, f"does not fit labels of kind {label.kind}, type {label.dtype}")


def _read_image(declaration: object) -> ImageInputs:
    """Read ``inputs`` of kind ``image``.

    Raises:
        BadInputs: The image is too large, a standard deviation is not positive, or a field is
            wrong.
    """
    known = ("kind", "column", "shape", "layout", "scale", "mean", "std")
    fields = Fields.of("", declaration, known)
    channels, height, width = (
        as_integer(f"/shape/{i}", side, 1, LARGEST_INPUT)
        for i, side in enumerate(fields.items("shape", 3, 3))
    )
    if channels * height * width > LARGEST_INPUT:
        raise BadInputs("/shape", f"more than {LARGEST_INPUT} numbers")
    std = fields.numbers("std", channels, 1.0)
    if min(std) <= 0:
        raise BadInputs("/std", "must be greater than 0")
    return ImageInputs(
        column=fields.text("column"),
        shape=(channels, height, width),
        layout=fields.choice("layout", ("chw", "hwc"), "chw"),
        scale=fields.number("scale", 1.0),
        mean=fields.numbers("mean", channels, 0.0),
        std=std,
    )


def _read_vector(declaration: object) -> VectorInputs:
    """Read ``inputs`` of kind ``vector``."""
    fields = Fields.of("", declaration, ("kind", "column", "length", "dtype"))
    return VectorInputs(
        column=fields.text("column"),
        length=fields.integer("length", 1, LARGEST_INPUT),
        dtype=fields.choice("dtype", ("float32", "int64"), "float32"),
    )


def _read_table(declaration: object) -> TableInputs:
    """Read ``inputs`` of kind ``table``."""
    fields = Fields.of("", declaration, ("kind", "columns"))
    listed = fields.items("columns", 1, 100_000)
    return TableInputs(
        tuple(_read_table_column(f"/columns/{i}", column) for i, column in enumerate(listed))
    )


def _read_table_column(pointer: str, declaration: object) -> Standard | OneHot:
    """Read how one column of a table is encoded.

    Raises:
        BadInputs: A standard deviation is not positive, categories repeat, or a field is wrong.
    """
    fields = Fields.of(pointer, declaration, ("name", "encode", "mean", "std", "categories"))
    if fields.choice("encode", ("standard", "one_hot")) == "standard":
        fields = Fields.of(pointer, declaration, ("name", "encode", "mean", "std"))
        std = fields.number("std")
        if std <= 0:
            raise BadInputs(f"{pointer}/std", "must be greater than 0")
        return Standard(fields.text("name"), fields.number("mean"), std)
    fields = Fields.of(pointer, declaration, ("name", "encode", "categories"))
    categories: list[Cell] = []
    for i, category in enumerate(fields.items("categories", 1, LARGEST_INPUT)):
        if not isinstance(category, str | int | float):
            raise BadInputs(f"{pointer}/categories/{i}", "must be a string, a number or a boolean")
        categories.append(category)
    if len(set(categories)) < len(categories):
        raise BadInputs(f"{pointer}/categories", "must differ from each other")
    return OneHot(fields.text("name"), tuple(categories))


def _read_bag_of_words(declaration: object) -> BagOfWordsInputs:
    """Read ``inputs`` of kind ``bag_of_words``.

    Raises:
        BadInputs: Words are no strings or repeat, or a field is wrong.
    """
    known = ("kind", "column", "vocabulary", "weight", "normalise")
    fields = Fields.of("", declaration, known)
    vocabulary = []
    for i, word in enumerate(fields.items("vocabulary", 1, LARGEST_INPUT)):
        if not isinstance(word, str):
            raise BadInputs(f"/vocabulary/{i}", "must be a string")
        vocabulary.append(word)
    if len(set(vocabulary)) < len(vocabulary):
        raise BadInputs("/vocabulary", "words must differ from each other")
    return BagOfWordsInputs(
        column=fields.text("column"),
        vocabulary=tuple(vocabulary),
        weight=fields.choice("weight", ("binary", "count"), "count"),
        normalise=fields.choice("normalise", ("l2", None), None),
    )


INPUT_KINDS: dict[str, Callable[[object], InputSpec]] = {
    "image": _read_image,
    "vector": _read_vector,
    "table": _read_table,
    "bag_of_words": _read_bag_of_words,
}
