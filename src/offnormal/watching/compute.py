"""One thread for everything that torch computes, whichever thread asks for it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

_Found = TypeVar("_Found")
_Task = Callable[[], None]


class ComputeThread:
    """Does one thing after the other in a thread of its own, which ends with this object.

    Why: OpenMP keeps workers for every thread that has ever computed. As soon as these are more than the processor has
    cores, libgomp puts each to sleep between two layers, and two cores do little more than one (docs/watch.md).
    """

    def __init__(self) -> None:
        tasks: SimpleQueue[_Task | None] = SimpleQueue()
        threading.Thread(target=_work, args=(tasks,), name="compute", daemon=True).start()
        self._tasks = tasks
        weakref.finalize(self, tasks.put, None)

    def call(self, function: Callable[[], _Found]) -> _Found:
        """What the function gives or raises, once everything asked for before is done; never from within another."""
        future: Future[_Found] = Future()

        def task() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - whatever it is, whoever asked gets it
                future.set_exception(error)

        self._tasks.put(task)
        return future.result()


def _work(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # and what it holds, until the next comes
