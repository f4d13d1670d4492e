"""Initialisations by name: how the weights start, as each publication did it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from alexnet.errors import UnknownName
from alexnet.models.layers import LocallyConnected2d

Rule = Callable[[str, Tensor, Tensor | None, torch.Generator], None]


@torch.no_grad()
def initialise(model: nn.Module, name: str, generator: torch.Generator) -> None:
    """Fill every convolution and dense layer by the rule called ``name``, in table order.

    Each position of a locally connected layer starts as a dense layer over its patch. Raises
    ``UnknownName``.
    """
    if name not in INITIALISATIONS:
        raise UnknownName("initialisation", name, INITIALISATIONS)
    for path, layer in model.named_modules():
        row = path.partition(".")[0]
        if isinstance(layer, nn.Conv2d | nn.Linear):
            INITIALISATIONS[name](row, layer.weight, layer.bias, generator)
        elif isinstance(layer, LocallyConnected2d):
            for weight, bias in layer.positions():
                INITIALISATIONS[name](row, weight, bias, generator)


@torch.no_grad()
def whiten(layer: nn.Conv2d, pictures: Tensor, eps: float = 5e-4) -> None:
    """Set a first convolution's filters from preprocessed pictures ``(N, 3, H, W)``.

    The eigenvectors of the patches' covariance, each divided by the square root of its eigenvalue,
    largest first, and their negatives, since a ReLU follows (Page 2019; Jordan 2024, section 3.2).
    ``eps`` keeps the smallest eigenvalues from amplifying noise. Filters beyond twice the patch's
    dimension keep their random start.
    """
    patches = nn.functional.unfold(pictures.float(), layer.kernel_size)  # (N, 3*k*k, positions)
    flat = patches.transpose(1, 2).flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    filters = (vectors / (values + eps).sqrt()).T.flip(0)[: layer.out_channels // 2]
    both = torch.cat([filters, -filters])
    layer.weight[: len(both)] = both.view(-1, *layer.weight.shape[1:])


def _keras(row: str, weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """Glorot uniform, zero bias: Keras's default. Fans include the kernel's area."""
    nn.init.xavier_uniform_(weight, generator=generator)
    if bias is not None:
        bias.zero_()


def _torch(row: str, weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for both: torch's default for Conv2d and Linear."""
    bound = 1 / math.sqrt(weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)


def _he(row: str, weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """N(0, 2/fan_in), zero bias (He et al. 2015), for layers followed by a ReLU."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    if bias is not None:
        bias.zero_()


def _dirac(row: str, weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """torch's default, but the first of a convolution's filters pass its inputs on unchanged.

    As many as it has inputs, of one tower. A dense kernel is scaled to a deviation of ``1 / inputs``:
    what airbench's head does, whose weights of deviation 1 give logits that are divided by ``inputs``
    (Jordan 2024, section 3.3; airbench94_muon.py). Rates of that head are ``inputs**2`` times ours.
    """
    _torch(row, weight, bias, generator)
    if weight.ndim == 4:
        nn.init.dirac_(weight[: weight.shape[1]])
    else:
        weight.div_(weight.std() * weight.shape[1])


def _gaussian(deviations: Mapping[str, float], bias_value: float) -> Rule:
    """N(0, .01) but for the rows in ``deviations``; some biases start above zero.

    A positive bias feeds the ReLUs of conv2, conv4, conv5 and the hidden dense layers positive
    inputs from the start (paper, section 5).
    """

    def fill(row: str, weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
        weight.normal_(0.0, deviations.get(row, 0.01), generator=generator)
        if bias is not None:
            lifted = row in ("conv2", "conv4", "conv5", "fc6", "fc7")
            bias.fill_(bias_value if lifted else 0.0)

    return fill


_UPPER = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}
_HIDDEN = {"fc6": 0.005, "fc7": 0.005}
_LOCAL = {"conv1": 1e-4, "local3": 0.04, "local4": 0.04}

INITIALISATIONS: dict[str, Rule] = {
    "2012": _gaussian(_UPPER, 1.0),  # layers-145.cfg, initW and initB
    "bvlc": _gaussian(_HIDDEN, 0.1),  # bvlc_alexnet/train_val.prototxt
    "caffenet": _gaussian(_HIDDEN, 1.0),  # bvlc_reference_caffenet/train_val.prototxt
    "cuda-convnet": _gaussian(_LOCAL, 0.0),  # example-layers/*.cfg, initW
    "cuda-convnet-80sec": _gaussian({"conv1": 1e-4, "fc64": 0.1, "fc10": 0.1}, 0.0),
    "dirac": _dirac,
    "he": _he,
    "keras": _keras,
    "paper": _gaussian({}, 1.0),  # paper, section 5
    "torch": _torch,
}
