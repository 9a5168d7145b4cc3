"""Builders from other distributions are found by their entry points."""

import sys
from pathlib import Path

import pytest
import torch

from app.unlearning.architectures import build, builder_names, initialise, register
from app.unlearning.errors import ArchitectureError

PLUGIN = """
from torch import nn

def build(config):
    return nn.Linear(config["width"], 1)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "tall_networks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tall-networks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[lethe.architectures]\ntall = tall_networks:build\n"
    )
    (tmp_path / "tall_networks.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tall_networks", raising=False)


@pytest.mark.usefixtures("plugin")
def test_an_installed_builder_is_used_by_its_name() -> None:
    architecture = {"builder": "tall", "config": {"width": 3}}
    assert builder_names() == ("sequential", "tall")
    assert next(build(architecture).parameters()).is_meta
    assert initialise(architecture, seed=0)(torch.ones(2, 3)).shape == (2, 1)


@pytest.mark.usefixtures("plugin")
def test_whatever_an_installed_builder_raises_is_a_fault_of_the_description() -> None:
    with pytest.raises(ArchitectureError, match="KeyError") as caught:
        build({"builder": "tall", "config": {}})
    assert caught.value.pointer == "/config"


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="sequential"):
        register("sequential")(lambda _: torch.nn.Identity())
