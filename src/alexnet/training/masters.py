"""bf16 weights to compute with beside the float32 masters that are trained, saved and scored.

Autocast rounds every float32 weight to bf16 in each forward pass, and widens its gradient in each
backward one, through temporary tensors made anew. Here the rounded weights stay, and both casts are a
pass over memory that is already there. The numbers are the same, to the bit.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from alexnet.models.build import AlexNet
from alexnet.models.layers import LocallyConnected2d

KERNELS = (nn.Conv2d, nn.Linear, LocallyConnected2d)  # what autocast casts the weights of


class Masters:
    """A network's float32 weights, and ``working``: the same network with kernels in bf16.

    Norms, dropout and all else in ``working`` are the network's own layers, not copies of them.
    """

    def __init__(self, model: AlexNet) -> None:
        own = [layer for layer in model.children() if not isinstance(layer, KERNELS)]
        self.working: AlexNet = copy.deepcopy(model, {id(layer): layer for layer in own})
        for layer in self.working.children():
            if isinstance(layer, KERNELS):
                layer.to(torch.bfloat16)
        pairs = zip(model.parameters(), self.working.parameters(), strict=True)
        apart = [(wide, narrow) for wide, narrow in pairs if wide is not narrow]
        self._pairs = [(wide, narrow) for wide, narrow in apart if wide.requires_grad]
        self._gradients: list[Tensor] = []
        self._fixed = [(wide, narrow) for wide, narrow in apart if not wide.requires_grad]

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Give the masters the gradients that a backward pass through ``working`` left, in float32."""
        if not self._gradients:
            self._gradients = [torch.empty_like(wide) for wide, _ in self._pairs]
        found = [narrow.grad for _, narrow in self._pairs]
        for (wide, narrow), gradient, kept in zip(self._pairs, found, self._gradients, strict=True):
            wide.grad = None if gradient is None else kept
            narrow.grad = None
        there = [(k, g) for k, g in zip(self._gradients, found, strict=True) if g is not None]
        if there:
            torch._foreach_copy_([kept for kept, _ in there], [gradient for _, gradient in there])

    @torch.no_grad()
    def round(self) -> None:
        """Round the masters that are trained into ``working``: after an update."""
        if self._pairs:
            torch._foreach_copy_([narrow for _, narrow in self._pairs], [w for w, _ in self._pairs])

    @torch.no_grad()
    def round_all(self) -> None:
        """Round every master: after the weights were loaded."""
        self.round()
        for wide, narrow in self._fixed:
            narrow.copy_(wide)
