"""What all tests share: one thread, so that bits can be compared, and a data root with ``shapes``."""

from __future__ import annotations

import os

# Before torch starts its threads, here and in every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"
# Before triton is imported: kernels run in its interpreter, also where there is a GPU (tools/check_gpu.py).
os.environ.setdefault("TRITON_INTERPRET", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from alexnet.benchmark import disk
from alexnet.data.sources import open_dataset
from alexnet.errors import UsageError

torch.set_num_threads(1)

# An example that takes long on a busy machine is no fault; pytest-timeout ends one that hangs.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root where ``shapes`` lies ready."""
    root = tmp_path_factory.mktemp("data")
    open_dataset("shapes", root=root)
    return root


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    """Return the test's folder where it lies on a disk whose cache can be dropped; else skip."""
    try:
        with disk.made_up(tmp_path, (1, 64, 64, 3)) as path:
            disk.at_random(path, [0], 64, 1)
    except UsageError as error:
        pytest.skip(str(error))
    return tmp_path


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Undo what ``device.prepare_process`` does to arithmetic."""
    yield
    torch.set_flush_denormal(False)
