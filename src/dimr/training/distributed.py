"""Ranks, and nothing else knows them: what several processes of one training agree on and share.

``torchrun --nproc-per-node N -m dimr train ...`` starts N processes, which ``join`` brings together
(NCCL between GPUs, gloo between CPUs). Without torchrun there is one process, for which everything
here is a plain call. Decisions travel over a gloo group of their own, so that no GPU waits for
them. Where a process is alone with an error, the others leave with its exit code: no one is left
waiting in a collective.
"""

import contextlib
import datetime
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimr.models.base import Blocks
from dimr.runtime.device import prepare_device
from dimr.runtime.errors import DimrError, PeerLost, StoppedEarly
from dimr.runtime.files import single_line

log = logging.getLogger(__name__)

Sharding = Literal["auto", "none", "full"]

LARGE = 900_000_000
"""Parameters from which ``auto`` shards: 16 bytes each of weights, EMA and AdamW's moments, the
gradients and the activations would together leave little of a GPU's memory."""

MOST_PROCESSES = 100_000
LAUNCHED = "TORCHELASTIC_RUN_ID"
"""An environment variable that torchrun sets."""

TIMEOUT = datetime.timedelta(minutes=30)
"""A process that has not come to a collective by then is taken for lost (compiling takes minutes,
and so does a preview that the first process draws)."""


@dataclass(frozen=True)
class World:
    """The processes of one training, as one of them sees it.

    Attributes:
        device: where this process computes.
        rank: its number, from 0.
        size: how many there are.
        control: the group that decisions travel over; None for one process.
        launched: whether torchrun started this process, and passes signals on to it.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    control: Any = None
    launched: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs, shows, previews, exports and holds the lock."""
        return self.rank == 0

    # --- work -------------------------------------------------------------------------------------

    def rows(self, batch: int, accumulate: int = 1) -> slice:
        """This process's rows of a batch.

        Raises:
            DimrError: the batch cannot be cut into equal pieces.
        """
        if batch % (self.size * accumulate):
            raise DimrError(
                f"train.batch: {batch} cannot be cut into equal pieces for {self.size} processes "
                f"x --accumulate {accumulate}; their product must divide it"
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def shards(self, network: nn.Module, sharding: Sharding) -> bool:
        """Whether a network's weights, EMA and optimizer state are spread over the processes.

        ``auto``: with several GPUs, from ``LARGE`` parameters on.
        """
        if sharding == "auto":
            large = sum(p.numel() for p in network.parameters()) >= LARGE
            return large and self.size > 1 and self.device.type == "cuda"
        return sharding == "full" and self.size > 1

    def shard(self, network: nn.Module) -> None:
        """Keep 1/size of every parameter here (FSDP2); a block is gathered while it computes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        for blocks in [module for module in network.modules() if isinstance(module, Blocks)]:
            for block in blocks:
                fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)

    def replicate(self, forward: Any) -> nn.Module:
        """The network as several processes call it: gradients become their mean (DDP)."""
        from torch.nn.parallel import DistributedDataParallel

        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            forward, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a float tensor over the processes; for one process the tensor itself."""
        if self.size == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.size

    # --- decisions --------------------------------------------------------------------------------

    def most(self, values: Sequence[int]) -> list[int]:
        """The largest of each value over the processes; no GPU waits for it."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int64)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX, group=self.control)
        return [int(value) for value in tensor]

    def gather(self, value: Any) -> list[Any]:
        """A plain value of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.control)
        return values

    def agree(self, error: DimrError | None = None) -> None:
        """Go on only if no process has an error; waits for all.

        Raises:
            DimrError: this process's own, if it is the one to tell it.
            SystemExit: another process tells one; with that one's exit code.
        """
        codes = self.gather(error.exit_code if error else None)
        teller = next((rank for rank, code in enumerate(codes) if code is not None), None)
        if teller is None:
            return
        if error is not None and self.rank == teller:
            raise error
        if error is not None and codes[teller] != error.exit_code:
            raise error  # another trouble than the first one's: worth telling too
        raise SystemExit(codes[teller])

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """A block without collectives that all processes leave well, or none (see ``agree``)."""
        found = None
        try:
            yield
        except DimrError as error:
            found = error
        self.agree(found)

    def on_first(self, call: Callable[[], Any]) -> None:
        """A call that only the first process makes; the others wait for it."""
        with self.agreed():
            if self.is_first:
                call()

    # --- tensors ----------------------------------------------------------------------------------

    def part(self, tensor: Any) -> tuple[Tensor, Sequence[int]] | None:
        """What this process writes of a tensor, and where that begins in the whole; None: nothing.

        Of a sharded tensor its shard; of one that all processes hold, all or nothing.
        """
        if is_sharded(tensor):
            (chunk,) = tensor.__create_chunk_list__()  # as torch.distributed.checkpoint does
            own = tensor.to_local()
            return (own, chunk.offsets) if own.numel() else None
        return (tensor, [0] * tensor.dim()) if self.is_first else None


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only some rows of it."""
    return hasattr(tensor, "to_local")


def whole(tensor: Any) -> Tensor:
    """All of a tensor; where it is sharded, every process must ask."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


@contextlib.contextmanager
def join(name: str | None = None, threads: int | None = None) -> Iterator[World]:
    """The processes that torchrun started, or this one alone; they part when the block ends.

    Args:
        name: of the device, as for ``prepare_device``; several processes have a GPU each.
        threads: CPU threads of a process.

    Raises:
        DimrError: a device that cannot be had.
        PeerLost: another process has died.
    """
    size = _number("WORLD_SIZE", 1, MOST_PROCESSES, 1)
    if size == 1:
        yield World(prepare_device(name, threads), launched=LAUNCHED in os.environ)
        return
    device = prepare_device(_own_device(name), threads)
    try:
        world = _connect(device, size)
        _quieten(world)
        try:
            yield world
        except (StoppedEarly, SystemExit):  # agreed on: all are leaving
            torch.distributed.destroy_process_group()
            raise
        torch.distributed.destroy_process_group()
    except RuntimeError as error:
        if not _is_of_a_peer(error):
            raise
        # without the place in gloo, and its advice
        reason = re.sub(r"^\[[^]]*\] *", "", single_line(error)).split(". ")[0][:120]
        raise PeerLost(
            f"another process of this training has died ({reason}); what was saved stays: the same "
            "command goes on from there"
        ) from None


def _number(name: str, least: int, most: int, default: int | None = None) -> int:
    """A whole number that torchrun sets in the environment; ``DimrError`` if it is none."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not least <= int(text) <= most:
        shown = f"{name}={text[:30]} is no number from {least} to {most}"
        raise DimrError(shown if text else f"{name} is not set")
    return int(text)


def _resolve(name: str, port: int) -> None:
    """A host that the environment names is known: torch would ask for it for half an hour."""
    host = os.environ.get(name, "")
    if not host:
        raise DimrError(f"{name} is not set")
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:
        raise DimrError(f"{name}={host[:60]} is no host ({single_line(error)[:60]})") from None


def _own_device(name: str | None) -> str | None:
    """The device of this process on its machine."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if ":" in name:
        raise DimrError(
            f"--device {name}: each process has a device of its own; use cuda or cpu with torchrun"
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name


def _connect(device: torch.device, size: int) -> World:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        _number("RANK", 0, size - 1)
        _resolve("MASTER_ADDR", _number("MASTER_PORT", 1, 65_535))
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo", timeout=TIMEOUT, device_id=device if on_gpu else None
        )
    except (DimrError, ValueError, torch.distributed.DistError) as error:
        raise DimrError(
            f"WORLD_SIZE={size}, but the processes do not meet ({single_line(error)[:120]}); start "
            "them with torchrun"
        ) from None
    control = torch.distributed.new_group(backend="gloo", timeout=TIMEOUT)
    rank = torch.distributed.get_rank()
    return World(device, rank, size, control, launched=LAUNCHED in os.environ)


def _quieten(world: World) -> None:
    """Only the first process tells how things go; warnings and errors of others are shown."""
    if not world.is_first:
        logging.getLogger("dimr").setLevel(logging.WARNING)


def _is_of_a_peer(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
