"""The methods by name, and what the service tells about them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, get_type_hints

from app.unlearning.errors import UnknownMethod
from app.unlearning.methods.method import Method
from app.unlearning.methods.schema import Constraint, check, json_schema, property_schema
from app.unlearning.update import JSON

# A hyperparameter of whoever loads the rows, taken by every method.
_RETAINED_ROWS = "retained_rows"
RETAINED_ROWS_DEFAULT = 4096
_SHARED: dict[str, JSON] = {
    _RETAINED_ROWS: property_schema(
        int,
        Constraint(
            "Retained rows read, sampled uniformly; convex models may read all of them.",
            minimum=1,
            maximum=10_000_000,
        ),
        RETAINED_ROWS_DEFAULT,
    )
}

M = TypeVar("M", bound=Method)
_METHODS: dict[str, type[Method]] = {}


def register(name: str, *, control: bool = False) -> Callable[[type[M]], type[M]]:
    """Register a dataclass as a method.

    Args:
        name: Its name in policies and reports.
        control: Whether it is only ever measured beside a result, never published.

    Returns:
        The decorator.

    Raises:
        ValueError: The name is taken.
    """

    def decorate(method: type[M]) -> type[M]:
        if name in _METHODS:
            raise ValueError(f"two methods are called {name!r}")
        method.name = name
        method.control = control
        _METHODS[name] = method
        return method

    return decorate


def method_names() -> Sequence[str]:
    """The registered names, controls included, in alphabetical order."""
    return sorted(_METHODS)


def control_names() -> Sequence[str]:
    """What may be measured beside a result: the controls proper and fine-tuning."""
    return sorted(["fine_tune", *(name for name, cls in _METHODS.items() if cls.control)])


def method_class(name: str) -> type[Method]:
    """Find a method.

    Raises:
        UnknownMethod: No method has this name.
    """
    if name not in _METHODS:
        raise UnknownMethod(name, method_names())
    return _METHODS[name]


def parameters_schema(name: str) -> dict[str, JSON]:
    """The JSON Schema of a method's parameters, the shared ones included.

    Raises:
        UnknownMethod: No method has this name.
    """
    return json_schema(method_class(name), extra=_SHARED)


def make_method(name: str, parameters: Mapping[str, JSON]) -> Method:
    """Make a method with its hyperparameters.

    Args:
        name: A registered name.
        parameters: Hyperparameters; those left out take their defaults.

    Returns:
        The method.

    Raises:
        UnknownMethod: No method has this name.
        BadParameters: A parameter is unknown, of the wrong type or out of range.
    """
    check(parameters_schema(name), parameters)
    cls = method_class(name)
    hints = get_type_hints(cls)
    own = {
        field.name: _as_declared(hints[field.name], parameters[field.name])
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]  # registered classes are dataclasses
        if field.name in parameters
    }
    return cls(**own)


def retained_rows(parameters: Mapping[str, JSON]) -> int:
    """How many retained rows a policy's parameters let a method read.

    Raises:
        BadParameters: The number is not a positive integer.
    """
    value = parameters.get(_RETAINED_ROWS, RETAINED_ROWS_DEFAULT)
    schema: dict[str, JSON] = {"properties": _SHARED}
    check(schema, {_RETAINED_ROWS: value})
    return int(value) if isinstance(value, int | float) else RETAINED_ROWS_DEFAULT


def shared_parameters(parameters: Mapping[str, JSON]) -> dict[str, JSON]:
    """Those of a policy's parameters that are for whoever loads the rows, not for the method."""
    return {name: value for name, value in parameters.items() if name in _SHARED}


def describe_methods() -> list[dict[str, JSON]]:
    """What ``GET /v1/methods`` shows, in alphabetical order; controls are not offered."""
    return [
        {
            "name": name,
            "title": cls.title,
            "reference": cls.reference,
            "kinds": list(cls.kinds),
            "needs": list(cls.needs),
            "assurance": cls.assurance,
            "parameters": parameters_schema(name),
        }
        for name, cls in ((name, _METHODS[name]) for name in method_names())
        if not cls.control
    ]


def _as_declared(hint: object, value: JSON) -> JSON:
    """JSON writes 1.0 as 1 and 5 as 5.0 at will; the field's type decides."""
    if isinstance(value, float) and hint in (int, int | None):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and hint in (float, float | None):
        return float(value)
    return value
