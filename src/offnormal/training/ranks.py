"""Training in several processes: starts them, keeps them equal, and reports their errors."""

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
from offnormal.scoring.scorer import usable_threads
from offnormal.training.settings import TrainSettings

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
_Result = TypeVar("_Result")
Report = Callable[[int, int, str], None]  # steps done, total steps, current losses
Work = Callable[[Fabric, Report | None], _Result]

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # each process of a fit imports this


def launch(work: Work[_Result], settings: TrainSettings, device: torch.device, report: Report | None) -> _Result:
    """Run `work` in this process, or in one process per device; return the result of rank 0.

    With several devices `work` and its result must be picklable. Only rank 0 calls `report`. Raises the error of a
    process after all of them have ended.
    """
    precision = _PRECISION[settings.precision]
    if settings.devices == 1:
        devices = 1 if device.type == "cpu" else [device.index or 0]
        local = Fabric(accelerator=device.type, devices=devices, precision=precision)
        local_result: _Result = local.launch(lambda fabric: work(fabric, report))
        return local_result
    fabric = Fabric(accelerator=device.type, devices=settings.devices, strategy="ddp_spawn", precision=precision)
    threads = usable_threads(settings.threads or max(1, (os.cpu_count() or 1) // settings.devices))
    with _listen(settings.devices, report) as (ends, failures):
        try:
            result: _Result = fabric.launch(partial(_in_rank, work, ends, threads))
        except (ProcessRaisedException, ProcessExitedException) as error:
            unexplained = error
        else:
            return result
    if failures:
        raise failures[0]
    if isinstance(unexplained, ProcessExitedException):
        process, signal = f"the process of device {unexplained.error_index}", unexplained.signal_name
        raise OffnormalError(
            f"{process} was killed by {signal}; if memory ran out, lower --batch-size"
            if signal is not None
            else f"{process} failed to start; see its output above"
        )
    raise unexplained


def average_gradients(fabric: Fabric, parameters: Sequence[nn.Parameter]) -> None:
    """Sum the gradients of all ranks, which are already weighted by each rank's share of the batch."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if fabric.world_size > 1 and gradients:
        _replace(gradients, _all_reduce(fabric, _flatten(gradients), "sum"))


@torch.no_grad()
def average_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Average the floating-point buffers over all ranks; copy other buffers from rank 0."""
    if fabric.world_size == 1:
        return
    buffers = [buffer for buffer in module.buffers() if buffer.numel()]
    real = [buffer for buffer in buffers if buffer.is_floating_point()]
    if real:
        _replace(real, _all_reduce(fabric, _flatten(real), "mean"))
    whole = [buffer for buffer in buffers if not buffer.is_floating_point()]
    if whole:
        first = _flatten(whole) if fabric.is_global_zero else torch.zeros_like(_flatten(whole))
        _replace(whole, _all_reduce(fabric, first, "sum"))


def broadcast_flag(fabric: Fabric, flag: bool) -> bool:
    """Return the flag of rank 0 on every rank."""
    if fabric.world_size == 1:
        return flag
    value = torch.tensor(float(flag and fabric.is_global_zero), device=fabric.device)
    return bool(_all_reduce(fabric, value, "sum") > 0)


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    kind = torch.int64 if not tensors[0].is_floating_point() else torch.float32
    return torch.cat([tensor.detach().flatten().to(kind) for tensor in tensors])


def _all_reduce(fabric: Fabric, flat: Tensor, operation: str) -> Tensor:
    reduced = fabric.all_reduce(flat, reduce_op=operation)
    assert isinstance(reduced, Tensor)
    return reduced


def _replace(tensors: Sequence[Tensor], flat: Tensor) -> None:
    pieces = torch.split_with_sizes(flat, [tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def _in_rank(work: Work[_Result], ends: Sequence[Connection], threads: int, fabric: Fabric) -> _Result:
    """Run `work` in one of several processes; logs, progress, and errors go to the parent process."""
    end = ends[fabric.global_rank]
    root = logging.getLogger()
    root.handlers = [_ToParent(end)] if fabric.is_global_zero else [logging.NullHandler()]
    if fabric.device.type == "cpu":
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # as in `choose_device`

    def report(done: int, total: int, note: str) -> None:
        end.send(("progress", (done, total, note)))

    try:
        return work(fabric, report if fabric.is_global_zero else None)
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
def _listen(ranks: int, report: Report | None) -> Iterator[tuple[Sequence[Connection], list[OffnormalError]]]:
    """Yield a connection for each rank and a list of their errors; a thread receives what they send."""
    pipes = [multiprocessing.get_context("spawn").Pipe(duplex=False) for _ in range(ranks)]
    failures: list[OffnormalError] = []

    def receive() -> None:
        open_ends = [end for end, _ in pipes]
        while open_ends:
            ready = multiprocessing.connection.wait(open_ends)
            for end in [end for end in open_ends if end in ready]:
                try:
                    kind, value = end.recv()
                except (EOFError, OSError):  # the process has ended, or was killed while sending
                    open_ends.remove(end)
                    continue
                if kind == "progress" and report is not None:
                    report(*value)
                elif kind == "log":
                    logging.getLogger(value.name).handle(value)
                elif kind == "failed":
                    failures.append(getattr(errors, value[0])(value[1]))

    thread = threading.Thread(target=receive, name="ranks", daemon=True)
    thread.start()
    try:
        yield [end for _, end in pipes], failures
    finally:
        for _, end in pipes:
            end.close()
        thread.join()
