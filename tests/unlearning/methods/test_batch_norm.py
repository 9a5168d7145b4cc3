"""Running statistics, recomputed."""

import copy

import torch
from torch import nn
from torch.testing import assert_close

from app.unlearning.batch_norm import recompute_statistics
from app.unlearning.rows import TensorRows
from tests.unlearning.methods.problems import blobs


def test_the_first_layer_has_the_moments_of_its_inputs() -> None:
    X, y = blobs(100, 0)
    images = X.view(100, 2, 3, 1) + 1000.0
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(6, 3)).eval()

    found = recompute_statistics(model, TensorRows(images, y), batch_size=33)

    channels = images.transpose(0, 1).flatten(1).double()
    assert_close(found["0.running_mean"].double(), channels.mean(1), rtol=1e-6, atol=0.0)
    assert_close(found["0.running_var"].double(), channels.var(1), rtol=1e-6, atol=0.0)


def test_one_batch_gives_what_training_would_keep() -> None:
    """With one batch and momentum one, torch's own running statistics are the same numbers."""
    X, y = blobs(50, 0)
    model = nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.BatchNorm1d(5, momentum=0.7)
    ).eval()
    before = copy.deepcopy(model.state_dict())
    reference = copy.deepcopy(model)
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    reference.train()(X)

    found = recompute_statistics(model, TensorRows(X, y), batch_size=50)

    expected = dict(reference.named_buffers())
    assert set(found) == {n for n in expected if n.endswith(("running_mean", "running_var"))}
    for name, value in found.items():
        assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not model.training


def test_networks_without_statistics_have_none() -> None:
    X, y = blobs(10, 0)
    rows = TensorRows(X, y)
    assert recompute_statistics(nn.Linear(6, 3), rows) == {}
    untracked = nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False))
    assert recompute_statistics(untracked, rows) == {}
