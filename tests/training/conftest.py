"""What several tests of training start from."""

from __future__ import annotations

import os
import shutil

import pytest
from safetensors.torch import save_file

from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run.device import Device


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "cifar.safetensors"
    save_file(build(zoo.network("alexnet-cifar"), 32, seed=3).state_dict(), path)
    return path


@pytest.fixture
def rate(monkeypatch):
    """Leave out what takes a second and changes no weight."""
    monkeypatch.setattr(Device, "matrix_rate", lambda self: 1e11)


@pytest.fixture
def root(tmp_path, data_root):
    """A root of its own, where shapes lies ready and no features do."""
    home = tmp_path / "data"
    # Not a symbolic link, which Windows leaves to administrators.
    shutil.copytree(data_root / "shapes", home / "shapes", copy_function=os.link)
    return home
