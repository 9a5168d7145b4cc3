"""The memory that a row needs is known before any is asked for."""

import torch

from app.unlearning.architectures import trace_forward
from app.unlearning.architectures.activations import Forward


def _sequential(*layers: dict[str, object]) -> dict[str, object]:
    return {"builder": "sequential", "config": {"layers": list(layers)}}


def test_every_result_of_a_forward_pass_counts_and_views_do_not() -> None:
    architecture = _sequential(
        {"type": "conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": 1},
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "linear", "in_features": 4 * 8 * 8, "out_features": 3},
    )
    traced = trace_forward(architecture, torch.zeros(1, 1, 8, 8))
    assert traced == Forward(activations=2 * 4 * 8 * 8 + 3, outputs=3)


def test_nothing_is_allocated_however_large_the_network_makes_a_row() -> None:
    wide = {"in_channels": 1, "out_channels": 65536, "kernel_size": 1, "padding": 1024}
    architecture = _sequential({"type": "conv2d", **wide})
    traced = trace_forward(architecture, torch.zeros(1, 1, 8, 8))
    assert traced is not None
    assert traced.activations == 65536 * 2056 * 2056


def test_a_network_that_does_not_run_on_the_row_has_no_count() -> None:
    architecture = _sequential({"type": "linear", "in_features": 5, "out_features": 3})
    assert trace_forward(architecture, torch.zeros(1, 4)) is None
