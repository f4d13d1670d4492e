"""How much memory a run will need, before it starts; one that cannot fit is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alexnet.data.loader import Source
from alexnet.errors import RecipeError, TrainingError
from alexnet.models import footprint, packing, table, wiring
from alexnet.models.build import AlexNet
from alexnet.models.towers import Tower
from alexnet.recipe import Optim, Recipe
from alexnet.run import computing, views
from alexnet.run.device import Device, peak_memory, resident_memory
from alexnet.run.machine import free_memory
from alexnet.run.memory import Memory, parts_text, size
from alexnet.run.ranks import Ranks
from alexnet.training import execution, features, groups, ridge

# What torch says where a CPU's allocator, or MPS, has no more: they have no exception of their own.
EXHAUSTED = ("DefaultCPUAllocator", "out of memory")


@dataclass(frozen=True)
class Planned:
    """A run about to start, as far as its memory goes: the model is freshly built."""

    recipe: Recipe
    model: AlexNet | Tower
    first: int  # the row that a step begins with
    parts: Mapping[str, Source]
    device: Device
    ranks: Ranks  # which divide a batch evenly

    @property
    def value(self) -> int:
        """Return the bytes of an activation."""
        return 2 if self.device.precision == "bf16" else 4


def checked(run: Planned) -> Memory:
    """Return ``memory_of``; raises ``RecipeError`` where that is more than is free."""
    memory = memory_of(run)
    refuse_too_large(memory, run.device, run.ranks)
    return memory


def memory_of(run: Planned) -> Memory:
    """Return what a run will hold in this process, roughly."""
    recipe, model, first = run.recipe, run.model, run.first
    cpu, half = run.device.torch.type == "cpu", 2 if isinstance(model, Tower) else 1
    value, solves = run.value, recipe.optim.name == ridge.NAME
    weights = _bytes([*model.parameters(), *model.buffers()])
    trained = [p for p in model.parameters() if p.requires_grad]
    whole, scored = _batches(recipe, run.parts)
    batch = _share(whole, run.ranks, half)
    kept, passing = _activations(run, _share(scored, run.ranks, half))
    stored = _stored(run) if first else run.parts["train"].images[0].nbytes
    return Memory(
        program=max(0, resident_memory() - weights) if cpu else 0,
        weights=weights,
        copies=sum(p.numel() for p in model.parameters()) * value if value == 2 else 0,
        average=weights if recipe.train.average else 0,
        gradients=0 if solves else _bytes(trained),
        optimiser=0 if solves else remembered(groups.grouped(model, recipe.optim), recipe.optim),
        activations=kept * batch // half,
        scoring=passing // half,
        pictures=batch * (4 * 3 * _side(recipe) ** 2 if not first else stored),
        data=_data(run.parts, stored, run.device),
        mapped=cpu,
        free=free_memory(run.device.torch),
        batch=whole,
        scored=scored,
        products=ridge.memory(len(run.parts["train"])) if solves else 0,
        replayed=not solves and _replayed(run),
    )


def _replayed(run: Planned) -> bool:
    """Say whether a CUDA graph will hold a step's memory (``execution.decide``)."""
    alone = run.ranks.world == 1 and not isinstance(run.model, Tower)
    how = {"static": execution.static(run.recipe), "asked": run.recipe.train.graph}
    return computing.replays(run.device, alone=alone, **how)


def _batches(recipe: Recipe, parts: Mapping[str, Source]) -> tuple[int, int]:
    """Return the pictures of the largest batch that is trained on, and of the largest scored."""
    most = max(len(part) for name, part in parts.items() if name != "train")
    return min(recipe.train.batch, len(parts["train"])), min(recipe.evaluation.batch, most)


def _share(batch: int, ranks: Ranks, half: int) -> int:
    return batch if half == 2 else -(-batch // ranks.world)


def _activations(run: Planned, batch: int) -> tuple[int, int]:
    """Return bytes that a picture of a training step keeps, and bytes that scoring needs at once."""
    recipe, model, first, value = run.recipe, run.model, run.first, run.value
    network = model.network
    steps = table.trace(network, _side(recipe))
    frozen = model.frozen if isinstance(model, AlexNet) else frozenset()
    chain = not wiring.held(network.rows)
    kept = footprint.kept(steps, frozen, first, value, chain=chain)
    side = _scored_side(recipe)
    scored, pictures = table.trace(network, side), 4 * 3 * side**2
    once = features.BATCH * (footprint.passing(scored[:first], value) + pictures) if first else 0
    behind = batch * (footprint.passing(scored[first:], value) + (0 if first else pictures))
    return kept, max(once, behind)


def _side(recipe: Recipe) -> int:
    """Return the side of the largest pictures that are trained on."""
    sides: tuple[int, ...] = recipe.train.sides
    return max([recipe.input.size, *sides])


def _scored_side(recipe: Recipe) -> int:
    """Return the side of the largest pictures that are scored."""
    size, plan = recipe.input.size, recipe.evaluation
    return max(views.sides(size)) if "scales" in (plan.views, *plan.also) else size


def _stored(run: Planned) -> int:
    """Return the bytes of a picture's features, with those of its mirror image or of its copies."""
    assert isinstance(run.model, AlexNet)
    names = wiring.entering(run.model.network.rows, run.first)
    shape = packing.packed_shape([run.model.shapes[name] for name in names])
    augment = run.recipe.augment
    count = augment.copies or (1 if augment.flip == "none" else 2)
    return math.prod(shape) * run.value * count


def _data(parts: Mapping[str, Source], stored: int, device: Device) -> int:
    """Return the bytes of the splits that are read again and again, or that lie on a device.

    Where they do not fit on a device they are read batch by batch (``run.computing``).
    """
    total = sum(len(part) * stored for name, part in parts.items() if name != "test")
    free = computing.free_own_memory(device.torch)
    return total if free is None or total * computing.ROOM <= free else 0


def remembered(groups: Iterable[Mapping[str, object]], plan: Optim) -> int:
    """Return the bytes that an update rule keeps of past gradients, of the groups it is made of."""
    total = 0
    for group in groups:
        params = group["params"]
        assert isinstance(params, list)
        total += _bytes(params) * _values(plan, orthogonal=bool(group["orthogonal"]))
    return total


def _values(plan: Optim, *, orthogonal: bool) -> int:
    """Count what is remembered of each weight."""
    if plan.name == "rmsprop":
        return 1 + plan.centered
    if plan.name == "sgd":
        return int(plan.momentum > 0)
    aside = plan.name == "muon" and not orthogonal
    if aside and plan.aux == "sgd":
        return int(plan.aux_momentum > 0)
    return 2 if aside or plan.name in ("adam", "keras-adam") else 1


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def refuse_too_large(memory: Memory, device: Device, ranks: Ranks) -> None:
    """Raise ``RecipeError`` where a run needs more memory than is free, with a batch that fits."""
    sharing = ranks.world // ranks.place.nodes if device.torch.type == "cpu" else 1
    if memory.free is None or memory.needed * sharing <= memory.free:
        return
    each = f", in each of {sharing} processes" if sharing > 1 else ""
    raise RecipeError(
        f"this run needs roughly {size(memory.needed)} more{each}, and {device.torch} has "
        f"{size(memory.free)} free: {parts_text(memory.to_json())}; {_advice(memory, sharing)}"
    )


def _advice(memory: Memory, sharing: int) -> str:
    assert memory.free is not None
    room = memory.free // sharing - memory.fixed
    step, scoring = memory.activations + memory.pictures, memory.scoring
    left = room - memory.gradients
    if memory.replayed:  # both at once: one factor for both
        step = scoring = step + scoring
        room = left
    batches = {
        "train.batch": _fitting(memory.batch, step, left),
        "evaluation.batch": _fitting(memory.scored, scoring, room),
    }
    if min(batches.values()) < 1:
        return "no batch would fit; choose a smaller network or input.size, or another device"
    asked = {"train.batch": memory.batch, "evaluation.batch": memory.scored}
    lower = [f"{key}={count}" for key, count in batches.items() if count < asked[key]]
    return f"set {' and '.join(lower)}"


def _fitting(batch: int, bytes_: int, room: int) -> int:
    """Return the batch, or the largest power of two below it that fits; 0 where none does."""
    if bytes_ <= room:
        return batch
    most = int(batch * room / max(1, bytes_))
    return 1 << (most.bit_length() - 1) if most > 0 else 0


@contextmanager
def running_out_told(memory: Memory, device: Device) -> Iterator[None]:
    """Turn what is raised where memory runs out after all into a ``TrainingError`` that says what to do."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _ran_out(error, memory, device) from None
    except RuntimeError as error:
        if not any(words in str(error) for words in EXHAUSTED):
            raise
        raise _ran_out(error, memory, device) from None


def _ran_out(error: Exception, memory: Memory, device: Device) -> TrainingError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return TrainingError(
        f"{device.torch} ran out of memory ({reason}). The run was thought to need roughly "
        f"{size(memory.needed)}: {parts_text(memory.to_json())}. Start it anew with a smaller train.batch "
        f"(now {memory.batch}) or evaluation.batch (now {memory.scored}), or let others free memory and go "
        "on by `alexnet resume RUN`; what was saved stays"
    )


def forget_peak(device: Device) -> None:
    """Have a GPU's peak counted from here on: of this run, not of one before it in the process."""
    if device.torch.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.torch)


def record(memory: Memory, device: Device) -> dict[str, Any]:
    """Return what stands in a run's record: the parts, and what was held at most, of the device.

    On a GPU since ``forget_peak``; on a CPU by this process, whatever else it did before.
    """
    cuda = device.torch.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device.torch) if cuda else peak_memory()
    return {**memory.to_json(), "peak": peak}
