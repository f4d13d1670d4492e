"""The compiled kernels, or the reason why this machine has none."""

from __future__ import annotations

import pytest

from alexnet.models import kernels


@pytest.fixture(scope="session", autouse=True)
def kernel():
    try:
        return kernels.ready()
    except kernels.Unavailable as reason:
        pytest.skip(f"no kernels on this machine: {reason}")
