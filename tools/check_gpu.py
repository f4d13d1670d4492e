"""Compare the kernels for a GPU with torch's own layers, on one: ``python tools/check_gpu.py``.

Tests run the kernels in Triton's interpreter, and compile them for GPUs that are not there; here they are
launched. A line for each with the largest difference from torch's layers in float64 (of an update: from torch's
rule in float32), as a share of the largest value; status 1 where one is beyond its bound. Some minutes the first
time, most of them Triton's compiler.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.errors import UsageError
from alexnet.models.epilogues import Epilogue
from alexnet.models.response_norms import LocalResponseNorm
from alexnet.recipe import Optim
from alexnet.run.device import choose
from alexnet.training import optim

# Room for sums in another order, for a device's own exp2 and log2, and for what bf16 rounds off.
ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
MOVED = 1e-5  # of an update: float32 both
STEPS = 3

Case = tuple[str, float, Callable[[], float]]  # what, how far apart it may be, how far it is
Way = Callable[[Tensor], Tensor]

NORMS = [(3, 48, 1), (4, 64, 1), (5, 96, 1), (5, 256, 1), (5, 192, 2), (9, 24, 2)]
# Side, stride, padding and overhang of AlexNet's first layer in several readings, and of a smaller one.
FOLDED = [(11, 4, 0, 2), (11, 4, 2, 0), (7, 2, 3, 0), (5, 4, 1, 3)]
EPILOGUES = [
    Epilogue(relu=True, pool=(3, 2)),
    Epilogue(relu=True, norm=True, pool=(3, 2)),
    Epilogue(norm=True, activation="gelu"),
]


def cases(device: torch.device, side: int, weights: int) -> Iterator[Case]:
    """Yield what is compared, of maps ``side`` wide (3 to 15) and so many weights."""
    for dtype, allowed in ALLOWED.items():
        of, kind = (device, dtype, side), str(dtype).removeprefix("torch.")
        for norm in NORMS:
            how = "size {}, {} channels, {} towers".format(*norm)
            yield f"response norm, {kind}, {how}", allowed, partial(response_norm, *norm, *of)
        for layer in FOLDED:
            how = "side {}, stride {}, padding {}, overhang {}".format(*layer)
            yield f"folded, {kind}, {how}", allowed, partial(folded, layer, *of)
        for what in EPILOGUES:
            yield f"epilogue, {kind}, {what}", allowed, partial(epilogue, what, *of)
    for name in sorted(optim.WEIGHT_BY_WEIGHT):
        for replayed in (False, True):
            how = "rate in a tensor" if replayed else "rate a number"
            yield f"update, {name}, {how}", MOVED, partial(update, name, replayed, device, weights)


def response_norm(
    size: int, channels: int, towers: int, device: torch.device, dtype: torch.dtype, side: int
) -> float:
    """Normalise, and back."""
    from alexnet.models.fused.response_norm import normalise

    how = {"size": size, "alpha": 1.0, "beta": 0.75, "k": 2.0, "towers": towers}
    x = drawn(device, 4, channels, side, side).to(dtype)
    return each_way(partial(normalise, **how), LocalResponseNorm(**how), x)


def folded(
    layer: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype, side: int
) -> float:
    """Convolve pictures in float32, which folding rounds, and back to the filters."""
    from alexnet.models.fused.folding import convolve

    width, stride, padding, overhang = layer
    x = drawn(device, 4, 3, side + width, side + width)
    padded = F.pad(x.to(dtype).double(), (0, overhang, 0, overhang))
    ours = partial(convolve, x, padding=padding, stride=stride, overhang=overhang)
    torchs = partial(F.conv2d, padded, stride=stride, padding=padding)
    return each_way(ours, torchs, drawn(device, 64, 3, width, width).to(dtype))


def epilogue(what: Epilogue, device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Do what stands behind a convolution, and back."""
    from alexnet.models.fused.epilogue import apply

    order = drawn(device, 4, 96, side * side).argsort(-1)  # no two of a map are equal, in bf16 too
    z = (2 * order - side**2) / (1 << (side**2).bit_length() - 1)  # of about 1, exactly
    z = z.view(4, 96, side, side).to(dtype)
    bias = drawn(device, 96).to(dtype)
    norm = nn.BatchNorm2d(96).to(device) if what.norm else None

    def torchs(z: Tensor) -> Tensor:
        y = z + bias.double().view(-1, 1, 1)
        y = F.relu(y) if what.relu else y
        y = y if norm is None else F.batch_norm(y, None, None, training=True)
        y = F.gelu(y) if what.activation else y
        return F.max_pool2d(y, *what.pool)

    return each_way(lambda z: apply(z, bias, norm, what), torchs, z)


@torch.no_grad()
def update(name: str, replayed: bool, device: torch.device, count: int) -> float:
    """Move weights some steps, as the steps of a graph do where they are ``replayed``."""
    from alexnet.training import fused_update

    plan = Optim(name=name, lr=0.01, momentum=0.9, weight_decay=0.1)
    ours, theirs = (drawn(device, count) for _ in "ot")
    narrow = ours.to(torch.bfloat16)
    group = {"lr": 0.01, "weight_decay": 0.1}
    rules = [optim.RULES[name]([group | {"params": [of]}], plan) for of in (ours, theirs)]
    rate = torch.zeros((), device=device)
    for step in range(STEPS):
        lr = rate.fill_(optim.rates(rules[0])[0]) if replayed else 0.01
        narrow.grad = drawn(device, count, seed=step + 1).to(torch.bfloat16)
        theirs.grad = narrow.grad.float()
        fused_update.step(rules[0], rules[0].param_groups[0] | {"lr": lr}, [(ours, narrow)])
        rules[1].step()
    return max(apart(ours, theirs), apart(narrow, ours.to(torch.bfloat16)))


def each_way(ours: Way, torchs: Way, x: Tensor) -> float:
    """Return how far apart two functions of ``x`` are, and what flows back to it; torch's in float64."""
    found = []
    for function, of in ((ours, x), (torchs, x.double())):
        leaf = of.clone().requires_grad_()
        y = function(leaf)
        y.backward(drawn(x.device, *y.shape, seed=1).to(x.dtype).to(y.dtype))
        assert leaf.grad is not None
        found.append((y.detach(), leaf.grad))
    return max(apart(a, b) for a, b in zip(*found, strict=True))


def drawn(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Draw numbers of about 1, float32, the same ones on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def apart(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest value; infinite where one is not a number."""
    share = (found.double() - expected).abs().max() / expected.abs().max().double()
    return float(share.nan_to_num(nan=torch.inf))


def tried(what: str, allowed: float, compare: Callable[[], float]) -> bool:
    """Compare, print the line of it, and return whether it is within its bound."""
    try:
        found = compare()
    except Exception as error:  # of Triton, a compiler or a driver: the others are still tried
        print(f"{what}: WRONG: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        return False
    right = found <= allowed
    print(f"{what}: {'' if right else 'WRONG: '}apart by {found:.1e}, allowed {allowed:.0e}")
    return right


def main(device: str = "cuda", side: int = 13, weights: int = (1 << 20) + 100) -> int:
    """Try all; return 1 where one is wrong or there is no such device, else 0."""
    try:
        chosen = choose(device, "float32")  # and products are not of tf32
    except UsageError as error:
        print(error)
        return 1
    right = [tried(*case) for case in cases(chosen.torch, side, weights)]
    print(f"{sum(right)} of {len(right)} right")
    return int(not all(right))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="e.g. cuda:1")
    sys.exit(main(parser.parse_args().device))
