"""The views of a picture that a prediction is the mean over, and that mean.

Evaluation, prediction and the pictures of a run all go through ``log_probabilities``: stored pictures
in, logarithms of probabilities out. A network that is sure of everything gives most classes less than
float32's least number, 1e-45: as probabilities they would all be 0, and none before another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.errors import UnknownName, UsageError
from alexnet.models import table
from alexnet.models.build import AlexNet
from alexnet.models.table import Network
from alexnet.run.device import Device

VIEWS = ("centre", "flip", "shift", "scales", "ten")
SCALES = (1.0, 7 / 8, 9 / 8)  # of the side of what a network sees; the first two views are "flip"


@torch.inference_mode()
def log_probabilities(
    module: nn.Module,
    pictures: Tensor,
    preprocessing: Preprocessing,
    device: Device,
    *,
    views: str = "centre",
) -> Tensor:
    """Return float32 ``(N, classes)``: the logarithm of the mean over the views of each picture.

    pictures: stored ones, uint8 ``(N, picture_size, picture_size, 3)``. ``views``:

    - ``centre``: the picture as it is preprocessed, alone.
    - ``flip``: it and its mirror image.
    - ``shift``: six: it, and it moved by one pixel up and left, and down and right (the edge
      reflected), each with its mirror image.
    - ``scales``: six: the whole picture at its side, at 7/8 and at 9/8 of it, each with its mirror
      image; for networks that take any size.
    - ``ten``: the windows at the four corners and at the centre of the stored picture, each with
      its mirror image (Krizhevsky et al. 2012, section 4.1).

    Raises ``UnknownName`` for other views, ``UsageError`` for ten views of pictures without a
    border, and for scales where windows are cut or the network takes one size only.
    """
    if views == "scales" and isinstance(module, AlexNet):
        refuse_one_size(module.network, preprocessing.size)
    found = []
    for x in seen(pictures, preprocessing, views):
        with device.autocast():
            logits = module(x)
        found.append(logits.float().log_softmax(1))
    return log_mean(found)


def log_mean(found: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of what ``found`` holds the logarithms of, of one shape each."""
    return torch.stack([*found]).logsumexp(0) - math.log(len(found))


def seen(pictures: Tensor, preprocessing: Preprocessing, views: str) -> Iterator[Tensor]:
    """Yield the views of pictures, each float32 ``(N, 3, size, size)``; see ``log_probabilities``."""
    if views not in VIEWS:
        raise UnknownName("views", views, VIEWS)
    if views in ("ten", "scales"):
        yield from (_ten if views == "ten" else _scales)(pictures, preprocessing)
        return
    plain = [preprocessing(pictures)]
    if views == "shift":
        wider = F.pad(plain[0], (1, 1, 1, 1), mode="reflect")
        plain += [wider[..., 2:, 2:], wider[..., :-2, :-2]]
    yield from plain
    if views != "centre":
        yield from (view.flip(3) for view in plain)


def sides(size: int) -> list[int]:
    """Return the sides of the pictures of ``scales``, in pixels, in their order."""
    return [round(size * share) for share in SCALES]


def refuse_one_size(network: Network, size: int) -> None:
    """Raise ``UsageError`` for a network whose weights do not fit pictures of all ``sides(size)``."""
    found = {side: table.totals(table.trace(network, side)).trainable for side in sides(size)}
    if len(set(found.values())) > 1:
        told = ", ".join(map(str, sorted(found)))
        raise UsageError(
            f"views 'scales' show pictures of {told} pixels, but the dense layers of {network.name} fit "
            f"those of {size} only; use the views centre or flip, or a network with an adaptive pool, "
            "e.g. alexnet-bn or owt"
        )


def _scales(pictures: Tensor, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """Yield the whole pictures at several sides, each followed by its mirror image."""
    if preprocessing.fit != "resize":
        raise UsageError(
            "views 'scales' resizes the whole picture, which needs input.fit = 'resize'; use the views "
            "centre, flip, shift or ten"
        )
    for side in sides(preprocessing.size):
        x = replace(preprocessing, size=side)(pictures)
        yield x
        yield x.flip(3)


def _ten(pictures: Tensor, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """Yield five windows of stored pictures, each followed by its mirror image."""
    size, border = preprocessing.size, preprocessing.picture_size - preprocessing.size
    if preprocessing.fit != "crop" or border < 1:
        raise UsageError(
            f"views 'ten' cuts {size}x{size} windows out of stored pictures of "
            f"{preprocessing.picture_size}, which needs input.fit = 'crop' and a smaller input.size; "
            "use the views centre, flip or shift"
        )
    corners = [(top, left) for top in (0, border) for left in (0, border)]
    for top, left in (*corners, (border // 2, border // 2)):
        x = preprocessing(pictures[:, top : top + size, left : left + size])
        yield x
        yield x.flip(3)
