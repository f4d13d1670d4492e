"""RMSprop as Keras writes it, which is not quite torch's: epsilon stands inside the root."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KerasRMSprop(torch.optim.Optimizer):
    """Divide each gradient by the root of its running mean square (Hinton 2012, lecture 6e).

    ``s = rho*s + (1-rho)*g*g; w -= lr * g / sqrt(s + eps)`` with ``g`` the gradient and ``decay*w``;
    ``centered`` subtracts the square of the gradient's running mean under the root. Without momentum,
    Keras's default. torch adds epsilon behind the root: where gradients are small, its steps are up
    to a thousand times larger.
    """

    def __init__(
        self, params: list[dict[str, Any]], rho: float, eps: float, *, centered: bool
    ) -> None:
        super().__init__(params, {"rho": rho, "eps": eps, "centered": centered})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rho = group["rho"]
        raw = [p.grad for p in params if p.grad is not None]
        grads = torch._foreach_add(raw, params, alpha=group["weight_decay"])
        squares = self._memory(params, "mean_square")
        torch._foreach_mul_(squares, rho)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - rho)
        below = torch._foreach_add(squares, group["eps"])
        if group["centered"]:
            means = self._memory(params, "mean")
            torch._foreach_lerp_(means, grads, 1 - rho)
            torch._foreach_addcmul_(below, means, means, value=-1)
        torch._foreach_sqrt_(below)
        if isinstance(group["lr"], Tensor):
            steps = torch._foreach_div(grads, below)
            torch._foreach_mul_(steps, group["lr"])
            torch._foreach_sub_(params, steps)
        else:
            torch._foreach_addcdiv_(params, grads, below, value=-group["lr"])

    def _memory(self, params: list[Tensor], key: str) -> list[Tensor]:
        for p in params:
            if key not in self.state[p]:
                self.state[p][key] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return [self.state[p][key] for p in params]
