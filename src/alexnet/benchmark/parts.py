"""Where the time of a training step goes, by layer and by kind of work, and what holds its memory."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.benchmark.costs import kind_of_work
from alexnet.benchmark.subject import Subject

LOSS, UPDATE = "loss", "update"


@dataclass(frozen=True)
class Part:
    """A layer, the loss or the update: seconds of a step, medians over the rounds."""

    name: str
    kind: str
    forward: float
    backward: float = 0.0

    @property
    def seconds(self) -> float:
        """Return both together."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Parts:
    """A step taken apart. ``memory``: bytes by what they hold."""

    parts: tuple[Part, ...]
    memory: Mapping[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Return the sum; a clock that is read between layers makes a step a little longer."""
        return sum(part.seconds for part in self.parts)

    def by_kind(self) -> dict[str, float]:
        """Return the seconds of each kind of work, the longest first."""
        found: dict[str, float] = defaultdict(float)
        for part in self.parts:
            found[part.kind] += part.seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a record."""
        return {**asdict(self), "by_kind": self.by_kind()}


class _Watch:
    """Notes when each layer begins and ends, forward; and when a gradient reaches its output."""

    def __init__(self, subject: Subject) -> None:
        self._wait = subject.device.synchronise
        self.forward: dict[str, float] = {}
        self.arrived: list[tuple[str, float]] = []
        self._begun = 0.0
        self._hooks = [
            hook
            for name, layer in subject.called.named_children()
            for hook in (
                layer.register_forward_pre_hook(self._before),
                layer.register_forward_hook(self._after(name)),
            )
        ]

    def now(self) -> float:
        """Return the time at which the device has done what it was asked for."""
        self._wait()
        return time.perf_counter()

    def _before(self, layer: nn.Module, given: object) -> None:
        self._begun = self.now()

    def _after(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(layer: nn.Module, given: object, output: Tensor) -> None:
            self.forward[name] = self.now() - self._begun
            if output.requires_grad:
                output.register_hook(  # type: ignore[no-untyped-call]
                    lambda _: self.arrived.append((name, self.now()))
                )

        return note

    def backward(self, begun: float, ended: float) -> dict[str, float]:
        """Return each layer's seconds: from its gradient's arrival to that of the layer before."""
        names = [LOSS, *(name for name, _ in self.arrived)]
        times = [begun, *(at for _, at in self.arrived), ended]
        return {name: times[n + 1] - times[n] for n, name in enumerate(names)}

    def leave(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()


def take_apart(subject: Subject, rounds: int) -> Parts:
    """Time a step's parts over ``rounds`` steps, after two that are not counted, and count its memory."""
    subject.warm_up()
    taken = [_once(subject) for _ in range(rounds)]
    kinds = {row.name: kind_of_work(row) for row in subject.network.rows}
    names = [*kinds, LOSS, UPDATE]
    parts = [
        Part(name, kinds.get(name, name), *(_median(taken, name, side) for side in (0, 1)))
        for name in names
    ]
    return Parts(tuple(parts), memory(subject))


Sides = tuple[dict[str, float], dict[str, float]]  # seconds by name, forward and backward


def _once(subject: Subject) -> Sides:
    watch = _Watch(subject)
    try:
        begun = watch.now()
        loss = subject.loss()
        middle = watch.now()
        loss.backward()  # type: ignore[no-untyped-call]
        ended = watch.now()
    finally:
        watch.leave()
    subject.update()
    updated = watch.now() - ended
    rest = middle - begun - sum(watch.forward.values())
    return {**watch.forward, LOSS: rest, UPDATE: updated}, watch.backward(middle, ended)


def _median(taken: Iterable[Sides], name: str, side: int) -> float:
    return statistics.median(of[side].get(name, 0.0) for of in taken)


def memory(subject: Subject) -> dict[str, int]:
    """Count the bytes that a step holds, by what they are; what a kernel takes for itself is not seen."""
    own = list(subject.model.parameters())
    narrow = {id(p): p for p in subject.called.parameters()}
    for p in own:
        narrow.pop(id(p), None)
    kept = _kept(subject, [*own, *subject.called.parameters(), *subject.model.buffers()])

    subject.loss().backward()  # type: ignore[no-untyped-call]
    every = {id(p): p for p in (*own, *subject.called.parameters())}.values()
    gradients = _bytes(p.grad for p in every if p.grad is not None)
    subject.update()
    gradients += _bytes(subject.masters.widened if subject.masters else ())
    states = [t for s in subject.updates.state.values() for t in s.values() if _is_tensor(t)]
    return {
        "weights": _bytes(own),
        "bf16 weights": _bytes(narrow.values()),
        "gradients": gradients,
        "memory of the rule": _bytes(states),
        "buffers": _bytes(subject.model.buffers()),
        "pictures": _bytes([subject.pictures]),
        "kept for backward": kept,
    }


def _kept(subject: Subject, known: Iterable[Tensor]) -> int:
    """Return the bytes that a forward pass keeps for the backward one, each piece of memory once."""
    apart = {t.untyped_storage().data_ptr() for t in (*known, subject.pictures)}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in apart:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        loss = subject.loss()
    total = sum(found.values())
    del loss
    return total


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def parts_text(found: Parts) -> str:
    """Write where the time goes for a terminal: layers, kinds of work, memory."""
    whole = found.seconds or 1.0
    lines = [f"  {'layer':<12}{'kind':<15}{'forward':>10}{'backward':>10}{'share':>8}"]
    lines += [
        f"  {p.name:<12}{p.kind:<15}{p.forward * 1e3:>7.1f} ms{p.backward * 1e3:>7.1f} ms"
        f"{p.seconds / whole:>8.1%}"
        for p in found.parts
    ]
    lines += [f"  {'kind of work':<27}{'time':>10}{'share':>8}"]
    for kind, seconds in found.by_kind().items():
        lines += [f"  {kind:<27}{seconds * 1e3:>7.1f} ms{seconds / whole:>8.1%}"]
    lines += ["  memory"]
    lines += [f"  {what:<27}{size / 2**20:>7.1f} MiB" for what, size in found.memory.items()]
    return "\n".join(lines)
