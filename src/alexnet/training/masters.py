"""bf16 weights to compute with beside the float32 masters that are trained, saved and scored.

Autocast rounds every float32 weight to bf16 in each forward pass, and widens its gradient in each
backward one, through temporary tensors made anew. Here the rounded weights stay, and on a CPU plain SGD
does both casts and the update in one pass, piece by piece: a widened gradient never leaves the
cache, and 20 bytes a weight travel where 32 did. The numbers are the same, to the bit. On a GPU
``fused_update`` does the like for large tensors, and torch's rule moves the small ones together.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.models.build import AlexNet
from alexnet.models.layers import LocallyConnected2d
from alexnet.training import fused_update
from alexnet.training.layout import as_it_lies, lying_as

PIECE = 1 << 18  # weights updated at a time: 1 MB of each tensor; smaller pieces are more calls
KERNELS = (nn.Conv2d, nn.Linear, LocallyConnected2d)  # what autocast casts the weights of


class Masters:
    """A network's float32 weights, and ``working``: the same network with kernels in bf16.

    Norms, dropout and all else in ``working`` are the network's own layers, not copies of them.
    ``one_pass``: the rule, one of ``optim.WEIGHT_BY_WEIGHT``, moves large tensors by kernels of our own.
    """

    def __init__(self, model: AlexNet, *, one_pass: bool = False) -> None:
        own = [layer for layer in model.children() if not isinstance(layer, KERNELS)]
        self.working: AlexNet = copy.deepcopy(model, {id(layer): layer for layer in own})
        for layer in self.working.children():
            if isinstance(layer, KERNELS):
                layer.to(torch.bfloat16)
        pairs = zip(model.parameters(), self.working.parameters(), strict=True)
        apart = [(wide, narrow) for wide, narrow in pairs if wide is not narrow]
        self._pairs = [(wide, narrow) for wide, narrow in apart if wide.requires_grad]
        self._on_cpu = all(wide.device.type == "cpu" for wide, _ in apart)
        alone = [pair for pair in self._pairs if one_pass and fused_update.suits(pair[0])]
        self._alone = {id(wide): narrow for wide, narrow in alone}  # in a pass of its own each
        self._together = [pair for pair in self._pairs if id(pair[0]) not in self._alone]
        self.widened: list[Tensor] = []  # float32 gradients, where a rule needs them whole
        self._fixed = [(wide, narrow) for wide, narrow in apart if not wide.requires_grad]

    @torch.no_grad()
    def take_gradients(self, rule: torch.optim.Optimizer) -> None:
        """Give the masters the gradients that a backward pass through ``working`` left, in float32.

        Not to those that ``update`` moves in one pass.
        """
        if self._in_pieces(rule):
            return
        if not self.widened:
            self.widened = [torch.empty_like(wide) for wide, _ in self._together]
        found = [narrow.grad for _, narrow in self._together]
        for (wide, narrow), gradient, kept in zip(self._together, found, self.widened, strict=True):
            wide.grad = None if gradient is None else kept
            narrow.grad = None
        there = [(k, g) for k, g in zip(self.widened, found, strict=True) if g is not None]
        if there:
            torch._foreach_copy_([kept for kept, _ in there], [gradient for _, gradient in there])

    def update(self, rule: torch.optim.Optimizer) -> None:
        """Apply a rule to the masters, round them into ``working``, and forget the gradients."""
        if self._in_pieces(rule):
            self._update_in_pieces(rule)
        else:
            rule.step()
            self._update_alone(rule)
            _round(self._together)
        rule.zero_grad(set_to_none=True)

    def rehearse(self, rule: torch.optim.Optimizer, *, replayed: bool) -> None:
        """Compile what ``update`` will need; ``replayed``: in a step whose rates are tensors."""
        for narrow in [*self._alone.values()][:1]:
            fused_update.rehearse(rule, narrow.device, replayed=replayed)

    def _in_pieces(self, rule: torch.optim.Optimizer) -> bool:
        """A GPU would pay for each piece with a launch, and has no cache of that kind to gain by it."""
        return type(rule) is torch.optim.SGD and self._on_cpu and not self._alone

    @torch.no_grad()
    def _update_in_pieces(self, rule: torch.optim.Optimizer) -> None:
        narrow = {id(wide): of for wide, of in self._pairs}
        for group in rule.param_groups:
            for wide in () if group.get("over") else group["params"]:
                working = narrow.get(id(wide), wide)
                if working.grad is not None:
                    _sgd(rule, group, wide, working)
                working.grad = None

    def _update_alone(self, rule: torch.optim.Optimizer) -> None:
        for group in rule.param_groups:
            own = [(w, self._alone[id(w)]) for w in group["params"] if id(w) in self._alone]
            moved = [] if group.get("over") else [pair for pair in own if pair[1].grad is not None]
            if moved:
                fused_update.step(rule, group, moved)
            for _, narrow in own:
                narrow.grad = None

    @torch.no_grad()
    def round_all(self) -> None:
        """Round every master: after the weights were loaded."""
        _round(self._pairs)
        for wide, narrow in self._fixed:
            narrow.copy_(wide)


@torch.no_grad()
def _round(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    if pairs:
        torch._foreach_copy_([narrow for _, narrow in pairs], [wide for wide, _ in pairs])


def _sgd(rule: torch.optim.Optimizer, group: dict[str, Any], wide: Tensor, working: Tensor) -> None:
    """Move one tensor as torch's fused SGD does, and round it into ``working``, piece by piece."""
    assert working.grad is not None
    state, momentum = rule.state[wide], group["momentum"]
    first = bool(momentum) and "momentum_buffer" not in state
    if first:
        state["momentum_buffer"] = torch.empty_like(wide)
    known = [state["momentum_buffer"]] if momentum else []
    gradient = lying_as(working.grad, working)
    flat = [torch.split(as_it_lies(t), PIECE) for t in (wide, working, gradient, *known)]
    for weights, rounded, slope, *memory in zip(*flat, strict=True):
        torch._fused_sgd_(
            [weights],
            [slope.float()],
            memory,
            weight_decay=group["weight_decay"],
            momentum=momentum,
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            is_first_step=first,
        )
        if rounded.dtype is not weights.dtype:
            rounded.copy_(weights)
