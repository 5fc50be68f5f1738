"""Several processes that train one detector: how they are started, how they stay equal, how they fail together."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Literal, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from offnormal import errors
from offnormal.errors import OffnormalError
from offnormal.training.settings import TrainSettings

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
_Found = TypeVar("_Found")
Tell = Callable[[int, int, str], None]  # steps done, of how many, current losses
Work = Callable[[Fabric, Tell | None], _Found]

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # here, since every process is to hold its tongue


def launch(work: Work[_Found], settings: TrainSettings, device: torch.device, tell: Tell | None) -> _Found:
    """Run `work` on one device here, or in a process for each of several; what rank 0 gave, plain values.

    work: must be able to go to another process when there are several devices. tell: hears from rank 0.
    Raises what a process raised, when all have ended.
    """
    result: _Found
    precision = _PRECISION[settings.precision]
    if settings.devices == 1:
        one = 1 if device.type == "cpu" else [device.index or 0]
        result = Fabric(accelerator=device.type, devices=one, precision=precision).launch(lambda own: work(own, tell))
        return result
    fabric = Fabric(accelerator=device.type, devices=settings.devices, strategy="ddp_spawn", precision=precision)
    threads = settings.threads or max(1, (os.cpu_count() or 1) // settings.devices)
    with _listening(settings.devices, tell) as (ends, failures):
        try:
            result = fabric.launch(partial(_in_rank, work, ends, threads))
        except (ProcessRaisedException, ProcessExitedException) as error:
            unexplained = error
        else:
            return result
    if failures:
        raise failures[0]
    if isinstance(unexplained, ProcessExitedException):
        which, signal = f"the process of device {unexplained.error_index}", unexplained.signal_name
        raise OffnormalError(
            f"{which} was ended by {signal}: if memory ran out, lower --batch-size"
            if signal is not None
            else f"{which} could not be started: what it wrote before says why"
        )
    raise unexplained


def average_gradients(fabric: Fabric, parameters: Sequence[nn.Parameter]) -> None:
    """Sum the gradients of all ranks, each of which has weighted its own by its share of the batch."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if fabric.world_size > 1 and gradients:
        _replace(gradients, _reduced(fabric, _flat(gradients), "sum"))


@torch.no_grad()
def equalise_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Give every rank the mean of all ranks' buffers; of whole numbers and switches those of rank 0."""
    if fabric.world_size == 1:
        return
    buffers = [buffer for buffer in module.buffers() if buffer.numel()]
    real = [buffer for buffer in buffers if buffer.is_floating_point()]
    if real:
        _replace(real, _reduced(fabric, _flat(real), "mean"))
    whole = [buffer for buffer in buffers if not buffer.is_floating_point()]
    if whole:
        first = _flat(whole) if fabric.is_global_zero else torch.zeros_like(_flat(whole))
        _replace(whole, _reduced(fabric, first, "sum"))


def agreed(fabric: Fabric, flag: bool) -> bool:
    """Whether rank 0 says so."""
    if fabric.world_size == 1:
        return flag
    said = torch.tensor(float(flag and fabric.is_global_zero), device=fabric.device)
    return bool(_reduced(fabric, said, "sum") > 0)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    kind = torch.int64 if not tensors[0].is_floating_point() else torch.float32
    return torch.cat([tensor.detach().flatten().to(kind) for tensor in tensors])


def _reduced(fabric: Fabric, flat: Tensor, how: str) -> Tensor:
    found = fabric.all_reduce(flat, reduce_op=how)
    assert isinstance(found, Tensor)
    return found


def _replace(tensors: Sequence[Tensor], flat: Tensor) -> None:
    parts = torch.split_with_sizes(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _in_rank(work: Work[_Found], ends: Sequence[Connection], threads: int, fabric: Fabric) -> _Found:
    """One of several processes: whatever it has to say goes to the one that started it."""
    end = ends[fabric.global_rank]
    root = logging.getLogger()
    root.handlers = [_ToParent(end)] if fabric.is_global_zero else [logging.NullHandler()]
    if fabric.device.type == "cpu":
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # as `choose_device` has it

    def tell(done: int, of: int, note: str) -> None:
        end.send(("tell", (done, of, note)))

    try:
        return work(fabric, tell if fabric.is_global_zero else None)
    except OffnormalError as error:
        end.send(("failed", (type(error).__name__, str(error))))
        raise


class _ToParent(logging.handlers.QueueHandler):
    def __init__(self, end: Connection) -> None:
        super().__init__(SimpleQueue())  # which stays empty
        self.end = end

    def enqueue(self, record: logging.LogRecord) -> None:
        self.end.send(("log", record))


@contextlib.contextmanager
def _listening(ranks: int, tell: Tell | None) -> Iterator[tuple[Sequence[Connection], list[OffnormalError]]]:
    """Ends for the ranks to speak into, and the errors that they told of; a thread hears them."""
    pipes = [multiprocessing.get_context("spawn").Pipe(duplex=False) for _ in range(ranks)]
    failures: list[OffnormalError] = []

    def hear() -> None:
        open_ones = [end for end, _ in pipes]
        while open_ones:
            ready = multiprocessing.connection.wait(open_ones)
            for end in [end for end in open_ones if end in ready]:
                try:
                    kind, value = end.recv()
                except (EOFError, OSError):  # all have ended, or one was killed while it spoke
                    open_ones.remove(end)
                    continue
                if kind == "tell" and tell is not None:
                    tell(*value)
                elif kind == "log":
                    logging.getLogger(value.name).handle(value)
                elif kind == "failed":
                    failures.append(getattr(errors, value[0])(value[1]))

    thread = threading.Thread(target=hear, name="ranks", daemon=True)
    thread.start()
    try:
        yield [end for _, end in pipes], failures
    finally:
        for _, end in pipes:
            end.close()
        thread.join()
