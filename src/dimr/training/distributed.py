"""The processes of one training: what they agree on and what they share. Only this file has ranks.

``torchrun --nproc-per-node N -m dimr train ...`` starts N processes, which ``join`` connects (NCCL
between GPUs, gloo between CPUs). Without torchrun there is one process, for which everything here
is a plain call. Decisions use their own gloo group, so that no GPU waits for them. If one process
has an error, the others exit with its exit code: none is left waiting in a collective.
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

Sharding = Literal["auto", "none", "full"]

LARGE = 900_000_000
"""Parameters from which ``auto`` shards: 16 bytes each for weights, EMA and AdamW's moments, plus
gradients and activations, would leave little of a GPU's memory."""

MAX_PROCESSES = 100_000
LAUNCHED = "TORCHELASTIC_RUN_ID"
"""An environment variable that torchrun sets."""

TIMEOUT = datetime.timedelta(minutes=30)
"""A process that is missing from a collective for this long counts as lost (compiling takes
minutes, and so does a preview that the first process draws)."""


@dataclass(frozen=True)
class World:
    """The processes of one training, as one of them sees it.

    Attributes:
        device: where this process computes.
        rank: number of this process, from 0.
        size: number of processes.
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
        """Whether this process logs, shows, previews, exports and holds the lock."""
        return self.rank == 0

    # --- work -------------------------------------------------------------------------------------

    def rows(self, batch: int, accumulate: int = 1) -> slice:
        """This process's rows of a batch.

        Raises:
            DimrError: the batch cannot be divided into equal microbatches.
        """
        if batch % (self.size * accumulate):
            raise DimrError(
                f"train.batch: {batch} cannot be divided equally among {self.size} processes x "
                f"--accumulate {accumulate}; their product must divide it"
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
        """Continue only if no process has an error; waits for all.

        Raises:
            DimrError: this process's own, if it is the one to report it.
            SystemExit: another process reports one; with that one's exit code.
        """
        codes = self.gather(error.exit_code if error else None)
        first = next((rank for rank, code in enumerate(codes) if code is not None), None)
        if first is None:
            return
        if error is not None and (self.rank == first or codes[first] != error.exit_code):
            raise error  # the first one, or another kind of error: worth reporting too
        raise SystemExit(codes[first])

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """A block without collectives; if it fails in one process, it does in all (``agree``)."""
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
        """What this process writes of a tensor, and its offset in the whole; None: nothing.

        For a sharded tensor its shard; for one that all processes hold, all or nothing.
        """
        if is_sharded(tensor):
            (chunk,) = tensor.__create_chunk_list__()  # as torch.distributed.checkpoint does
            own = tensor.to_local()
            return (own, chunk.offsets) if own.numel() else None
        return (tensor, [0] * tensor.dim()) if self.is_first else None


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a shard of it."""
    return hasattr(tensor, "to_local")


def whole(tensor: Any) -> Tensor:
    """All of a tensor; if it is sharded, every process must call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def fill(tensor: Any, values: Tensor) -> None:
    """Fill a tensor, or its shard, from all of its values, which every process has."""
    if is_sharded(tensor):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(
            values.to(tensor.device, tensor.dtype),
            tensor.device_mesh,
            tensor.placements,
            src_data_rank=None,
        )
    with torch.no_grad():
        tensor.copy_(values)


@contextlib.contextmanager
def join(name: str | None = None, threads: int | None = None) -> Iterator[World]:
    """Connect the processes that torchrun started, until the block ends; or only this process.

    Args:
        name: of the device, as for ``prepare_device``; several processes have a GPU each.
        threads: CPU threads of a process.

    Raises:
        DimrError: a device that is not available.
        PeerLost: another process has died.
    """
    size = _number("WORLD_SIZE", 1, MAX_PROCESSES, 1)
    if size == 1:
        yield World(prepare_device(name, threads), launched=LAUNCHED in os.environ)
        return
    device = prepare_device(own_device(name), threads)
    try:
        world = _connect(device, size)
        if not world.is_first:  # the first reports progress; others only warn
            logging.getLogger("dimr").setLevel(logging.WARNING)
        try:
            yield world
        except (StoppedEarly, SystemExit):  # agreed: all exit
            torch.distributed.destroy_process_group()
            raise
        torch.distributed.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error).lower():
            raise
        # without gloo's source location and advice
        reason = re.sub(r"^\[[^]]*\] *", "", single_line(error)).split(". ")[0][:120]
        raise PeerLost(
            f"another process of this training has died ({reason}); what was saved is kept: the "
            "same command resumes from there"
        ) from None


def own_device(name: str | None) -> str | None:
    """The device of this process on its machine: of several processes, each has a GPU."""
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
        _require_host("MASTER_ADDR", _number("MASTER_PORT", 1, 65_535))
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


def _number(name: str, least: int, most: int, default: int | None = None) -> int:
    """An integer that torchrun sets in the environment; ``DimrError`` if it is not one."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not text:
        raise DimrError(f"{name} is not set")
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise DimrError(f"{name}={text[:30]} is not a number from {least} to {most}")
    return int(text)


def _require_host(name: str, port: int) -> None:
    """Refuse an unknown host in the environment: torch would retry for half an hour."""
    host = os.environ.get(name, "")
    if not host:
        raise DimrError(f"{name} is not set")
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:
        raise DimrError(f"{name}={host[:60]} is not a host ({single_line(error)[:60]})") from None
