"""The processes of one run, and what they tell each other. Built on torch.distributed.

Alone, every function here gives back what it was given, and nothing is exchanged.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from alexnet.data.loader import portion
from alexnet.errors import RankLost, UsageError
from alexnet.run import launch
from alexnet.run.device import Device

TIMEOUT = timedelta(seconds=60)  # of one exchange; torch's own is half an hour
WORKING = timedelta(days=7)  # of some for the others: a data set prepared, a checkpoint saved


@dataclass(frozen=True)
class Ranks:
    """This process, ``rank`` of ``world``, and its ways to the others.

    Exchanges must be called by every rank, in the same order. ``device``: where torch.distributed
    takes tensors from.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    place: launch.Place = field(default_factory=launch.Place)
    store: Any = field(default=None, repr=False)  # torch's key-value store, of all attempts
    turns: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        """Return itself: a copy of a model speaks to the same processes."""
        return self

    @property
    def main(self) -> bool:
        """Say whether this is the one rank that writes and speaks."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return this rank's part of ``count`` rows; the parts differ by one row at most."""
        return portion(count, self.rank, self.world)

    def gather(self, values: Sequence[float]) -> Tensor:
        """Return every rank's values: float64 ``(world, len(values))`` on the CPU."""
        own = torch.tensor(values, dtype=torch.float64)[None]
        return own if self.world == 1 else self._gather(own).cpu()

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows ``(n, ...)`` of every rank, one rank's behind the other's; n may differ."""
        if self.world == 1:
            return rows
        counts = [int(n) for n in self.gather([len(rows)])[:, 0]]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = self._gather(padded[None]).to(rows.device)
        return torch.cat([part[:n] for part, n in zip(found, counts, strict=True)])

    def _gather(self, own: Tensor) -> Tensor:
        own = own.to(self.device).contiguous()
        found = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(found, own)
        return torch.cat(found)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        if self.world == 1:
            return
        for tensor in tensors:
            sent = tensor.detach().to(self.device).contiguous()
            dist.broadcast(sent, 0)
            tensor.detach().copy_(sent)

    def swap(self, tensor: Tensor) -> Tensor:
        """Give a tensor to the other one of two ranks, and return its own, of the same shape."""
        sent = tensor.detach().to(self.device).contiguous()
        both = [torch.empty_like(sent) for _ in range(2)]
        # As bytes: not every backend knows bf16.
        raw = [each.view(-1).view(torch.uint8) for each in (*both, sent)]
        dist.all_gather(raw[:2], raw[2])
        return both[1 - self.rank].to(tensor.device)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks, with the same bits on each."""
        if self.world == 1:
            return tensor
        total = tensor.detach().to(self.device, copy=True).contiguous()
        dist.all_reduce(total)
        return total.to(tensor.device)

    def wait(self) -> None:
        """Return when every rank has come here."""
        self.gather([0.0])

    def agree(self, what: str, number: float) -> None:
        """Raise ``UsageError`` where the ranks have different numbers for ``what``."""
        found = self.gather([number])[:, 0].tolist()
        if len(set(found)) > 1:
            raise UsageError(
                f"the ranks see different things: {what} is {', '.join(f'{n:g}' for n in found)} on "
                "ranks 0, 1, ...; the run's folder must be on a disk that all machines share"
            )

    def asked(self, numbers: list[int]) -> list[int]:
        """Return the signals that any rank was sent, so that all stop at the same step or none."""
        if self.world == 1:
            return numbers
        most = int(self.gather([float(max(numbers, default=0))]).max())
        return [most] if most else []

    def decide(self, key: str, choose: Callable[[], str]) -> str:
        """Let rank 0 choose a text for all; after a restart by torchrun, the text chosen before."""
        if self.world == 1:
            return choose()
        if self.main and not self.store.check([key]):
            self.store.set(key, choose())
        self.store.wait([key], TIMEOUT)
        return str(self.store.get(key).decode())

    @contextlib.contextmanager
    def first_of_machine(self, key: str) -> Iterator[None]:
        """Run a block on one process of each machine, then on the others, however long it takes."""
        if self.world == 1:
            yield
            return
        key = f"{key}/{self.place.attempt}"
        keys = [f"{key}/{node}" for node in range(self.place.nodes)]
        if self.place.local:
            self.store.wait(keys, WORKING)
        yield
        if not self.place.local:
            self.store.set(keys[self.place.node], "done")
            self.store.wait(keys, WORKING)

    @contextlib.contextmanager
    def behind_main(self) -> Iterator[None]:
        """Leave a block that rank 0 works in when it has left it, however long it takes, or failed."""
        if self.world == 1:
            yield
            return
        key = f"behind_main/{self.place.attempt}/{next(self.turns)}"
        try:
            yield
        finally:
            if self.main:  # the others then see for themselves that it is gone
                self.store.set(key, "done")
        if not self.main:
            self.store.wait([key], WORKING)


ALONE = Ranks()


@contextlib.contextmanager
def joined(device: Device) -> Iterator[tuple[Ranks, Device]]:
    """Join the processes that torchrun started for the block, and yield this one's place and device.

    A CUDA device without a number becomes that of the local rank. Raises ``RankLost`` for a rank
    that stopped or did not answer for ``TIMEOUT``.
    """
    here = launch.place()
    if here.world == 1:
        yield replace(ALONE, place=here), device
        return
    launch.die_with_parent()
    own = _own_device(device, here.local)
    try:
        store, backend = _store(here), "nccl" if own.torch.type == "cuda" else "gloo"
        # torchrun starts again over the same store; the addresses of the dead must not be read.
        fresh = _prefixed(store, f"attempt_{here.attempt}")
        dist.init_process_group(
            backend, store=fresh, rank=here.rank, world_size=here.world, timeout=TIMEOUT
        )
        where = own.torch if backend == "nccl" else torch.device("cpu")
        yield Ranks(here.rank, here.world, where, here, store), own
    except RuntimeError as error:
        if not _is_of_another_rank(error):
            raise
        raise RankLost(here.rank, here.world, _reason(error)) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _store(here: launch.Place) -> Any:
    try:
        store, _, _ = next(iter(rendezvous("env://", here.rank, here.world, timeout=TIMEOUT)))
    except ValueError as error:  # MASTER_ADDR and MASTER_PORT are missing
        raise UsageError(
            f"RANK={here.rank} and WORLD_SIZE={here.world} are set, but: {error}. Start several "
            "processes with torchrun, or unset RANK to run one"
        ) from None
    return _prefixed(store, "alexnet")


def _prefixed(store: Any, prefix: str) -> Any:
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]


def _own_device(device: Device, local: int) -> Device:
    if device.torch.type != "cuda" or device.torch.index is not None:
        return device
    count = torch.cuda.device_count()
    if local >= count:
        raise UsageError(
            f"LOCAL_RANK={local}, but this machine has {count} CUDA devices; lower --nproc-per-node"
        )
    own = torch.device("cuda", local)
    torch.cuda.set_device(own)
    return replace(device, torch=own)


def _is_of_another_rank(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[0]
