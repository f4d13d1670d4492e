"""What the tests of the exchange share: torchvision's alexnet, written from its documented table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn


class Torchvision(nn.Module):
    """``torchvision.models.AlexNet`` by the indices of its published state dict."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        relu, pool = nn.ReLU, nn.MaxPool2d
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), relu(), pool(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), relu(), pool(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), relu()),
            *(nn.Conv2d(384, 256, 3, padding=1), relu()),
            *(nn.Conv2d(256, 256, 3, padding=1), relu(), pool(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(9216, 4096), relu()),
            *(nn.Dropout(), nn.Linear(4096, 4096), relu()),
            nn.Linear(4096, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


@pytest.fixture(scope="session")
def theirs() -> Torchvision:
    torch.manual_seed(0)
    return Torchvision(classes=7).eval()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, where there is one."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ALEXNET_SHARED_DATA") or beside)
    if not (folder / "alexnet-owt-features.safetensors").is_file():
        pytest.skip("no shared data: set ALEXNET_SHARED_DATA")
    return folder
