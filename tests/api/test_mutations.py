"""One value of a right body replaced by any other: accepted or refused, never a failure."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, seed, settings, strategies

from tests.api.conftest import Service
from tests.api.registered import VERSION, Registered, live_version

DATABASES = ("sqlite", "postgresql")

LAYERS = [
    {"type": "conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1},
    {"type": "residual", "layers": [{"type": "relu"}], "shortcut": []},
    {"type": "linear", "in_features": 2, "out_features": 2},
]
TABLE = {
    "kind": "table",
    "columns": [
        {"name": "label", "encode": "standard", "mean": 0.0, "std": 1.0},
        {"name": "label", "encode": "one_hot", "categories": ["a"]},
    ],
}
RECIPE = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1, "batch_size": 8}
VALID: dict[str, dict[str, Any]] = {
    "/v1/models/{model_id}/versions": {
        **VERSION,
        "recipe": RECIPE,
        "architecture": {"builder": "sequential", "config": {"layers": LAYERS}},
    },
    "/v1/models/{model_id}/versions?": {**VERSION, "inputs": TABLE},
    "/v1/models/{model_id}/versions??": {
        **VERSION,
        "architecture": {"builder": "transformers", "config": {"model_type": "gpt2"}},
        "inputs": {"kind": "image", "column": "x", "shape": [1, 1, 2], "scale": 1.0,
                   "mean": [0.0], "std": [1.0], "layout": "chw"},
    },
    "/v1/models/{model_id}/policy": {
        "method": "fine_tune",
        "parameters": {"epochs": 1},
        "gates": {"membership_auc": 0.6},
        "verification": {"reference": "none", "controls": ["fine_tune"]},
    },
    "/v1/deletion-requests/preview": {
        "sample_ids": ["s0"], "subject_ids": ["p1"], "labels": [1], "regulation": "gdpr",
    },
    "/v1/corrections/preview": {
        "corrections": [{"sample_id": "s0", "label": 1, "features": {"x": [1.0, 2], "label": 0}}],
        "feature_removal": {"columns": ["x"], "sample_ids": ["s1"], "value": [0, 0]},
    },
}  # fmt: skip
ANYTHING = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**63), 2**63 - 1)
    | strategies.sampled_from([0, -1, 2**31, 2**62, 10**15])
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(max_size=8)
    | strategies.sampled_from(["label", "x", "id", "who", "/", "~", "s0", "1" * 5000]),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def live(service: Service) -> Registered:
    with service.client() as client:
        return live_version(client)


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value in a document."""
    yield path
    inner: Any = ()
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    for key, value in inner:
        yield from leaves(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a document with one value replaced."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("path", sorted(VALID))
def test_one_wrong_value_in_a_right_body_is_never_a_failure(
    service: Service, live: Registered, path: str
) -> None:
    valid = VALID[path]
    place = path.rstrip("?").format(model_id=live.model_id)
    method = "PUT" if path.endswith("policy") else "POST"
    if method == "POST":
        valid = {**valid, "dataset_id": live.dataset_id}
    places = list(leaves(valid))

    @seed(20261121)
    @settings(max_examples=150, deadline=None, database=None)
    def try_all(at: tuple[Any, ...], value: Any) -> None:
        response = http.request(method, place, content=json.dumps(replaced(valid, at, value)))
        assert response.status_code in {200, 201, 400, 404, 409, 413, 422}, response.text
        assert "json" in response.headers["content-type"]

    with service.http() as http:
        http.headers["Content-Type"] = "application/json"
        given(at=strategies.sampled_from(places), value=ANYTHING)(try_all)()
