"""Batch norm's statistics taken anew from many pictures, of the weights as they are ("PreciseBN").

What a norm keeps in training is a moving mean over the last batches, and so of older weights. Where units die or
grow meanwhile, the network that is scored is not the one that learnt. Here every batch counts the same, and all
are of the last weights (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alexnet.data.loader import Batch, Resident, Source
from alexnet.data.order import shuffled
from alexnet.data.preprocess import Preprocessing
from alexnet.data.stream import told
from alexnet.errors import DataError, UsageError
from alexnet.models.global_norm import GlobalBatchNorm
from alexnet.run.classifier import Classifier
from alexnet.run.computing import as_in_training, evaluating, lent
from alexnet.run.device import Device

Norm = _BatchNorm | GlobalBatchNorm  # the second: of a batch that several processes divide


@contextmanager
def renewed(
    models: Sequence[Classifier],
    source: Source | None = None,
    *,
    device: Device,
    scored: Source,
    batch: int = 500,
) -> Iterator[None]:
    """Have models normalise by the statistics of all of ``source``'s pictures, for a while.

    As they are scored: preprocessed, without augmentation or dropout. Afterwards, and where ``source`` is None,
    they have their own. Raises ``UsageError`` for a model without batch norm and where pictures that are to be
    ``scored`` would have a say, ``DataError`` for fewer than two pictures.
    """
    with ExitStack() as kept:
        if source is not None:
            _refuse(source, scored)
            for model in models:
                module = model.module
                kept.enter_context(lent(module, device))
                with as_in_training(module, device):
                    taken = taken_from(source, module, model.preprocessing, device, batch=batch)
                    kept.enter_context(taken)
        yield


@contextmanager
def taken_from(
    source: Source | Resident,
    module: nn.Module,
    preprocessing: Preprocessing,
    device: Device,
    *,
    count: int | None = None,
    batch: int = 500,
    between: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Have one network normalise by the statistics of ``count`` pictures of ``source``, for a while.

    None: of all of them. Which ones, and in which batches, their number decides. ``between``: called before
    each batch; what it raises ends this.
    """
    norms = _norms(module)
    with evaluating(module), _kept(norms):  # no dropout
        _renew(module, preprocessing, _mixed(source, count, batch, device, between), device)
        yield


def _refuse(source: Source, scored: Source) -> None:
    if len(source) < 2:
        raise DataError(
            f"the split to take batch norm's statistics from holds {len(source)} pictures; a variance "
            "needs two or more"
        )
    same = source.images is scored.images
    both = np.intersect1d(scored.chosen, source.chosen) if same else ()
    if len(both):
        raise UsageError(
            f"{len(both):,} of the {len(scored):,} pictures to score are among those that batch norm's "
            "statistics are to be taken from; name some of the training part that are not scored"
        )


def _norms(module: nn.Module) -> list[Norm]:
    """Return a network's batch norms. Raises ``UsageError`` where it has none."""
    found = [layer for layer in module.modules() if isinstance(layer, Norm)]
    if not found:
        name = getattr(module, "network", module).name
        raise UsageError(f"{name} has no batch norm to take statistics for")
    return found


@contextmanager
def _kept(norms: Sequence[Norm]) -> Iterator[None]:
    """Let norms keep other statistics for a while: their own may lie in a file that is mapped.

    Every process is given all pictures to take them from, and needs no other for it.
    """
    was = [(norm.momentum, dict(norm.named_buffers())) for norm in norms]
    for norm, (_, buffers) in zip(norms, was, strict=True):
        _set(norm, {name: value.clone() for name, value in buffers.items()})
    try:
        with ExitStack() as alone:
            for norm in norms:
                if isinstance(norm, GlobalBatchNorm):
                    alone.enter_context(norm.alone())
            yield
    finally:
        for norm, (momentum, buffers) in zip(norms, was, strict=True):
            norm.momentum = momentum
            _set(norm, buffers)


def _set(norm: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, value in buffers.items():
        setattr(norm, name, value)


def _mixed(
    source: Source | Resident,
    count: int | None,
    batch: int,
    device: Device,
    between: Callable[[], None],
) -> Iterator[Batch]:
    """Yield pictures in a mixed order: of a folder's own, batches would be of one class each."""
    order = shuffled(len(source), 0, 0)[:count]
    size = _never_one(len(order), batch)
    parts = (order[start : start + size] for start in range(0, len(order), size))
    for positions in told(parts, source.tell_of):
        between()
        yield source.read(positions, device.torch)


@torch.inference_mode()
def _renew(
    module: nn.Module, preprocessing: Preprocessing, batches: Iterator[Batch], device: Device
) -> None:
    """Set running means and variances to those over all pictures, each batch normalised by its own."""
    norms, count = _norms(module), 0
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0  # so that it keeps the last batch's and nothing else
    for part in batches:
        with device.autocast():
            module(preprocessing(part.pictures))
        count += len(part.indices)
        for total, norm in zip(sums, norms, strict=True):
            total += len(part.indices) * _moments(norm)
    for total, norm in zip(sums, norms, strict=True):
        mean, square = total / count
        norm.eval().get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_((square - mean**2).clamp_min(0))


def _never_one(count: int, batch: int) -> int:
    """Return a batch size, at most ``batch`` where one is, that leaves no picture for a batch of its own."""
    return next((size for size in range(batch, 1, -1) if count % size != 1), count)


def _moments(norm: Norm) -> Tensor:
    """Return mean and mean square of each channel in the last batch: float64 ``(2, C)``, on the CPU."""
    mean = norm.get_buffer("running_mean").cpu().double()  # in this order: MPS has no float64
    return torch.stack([mean, norm.get_buffer("running_var").cpu().double() + mean**2])
