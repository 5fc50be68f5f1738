"""An iterator that runs ahead of its user in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates what the generator `make()` yields; up to `room` items are made before they are asked for.

    The whole generator, its beginning and its clean-up included, runs in one thread. What it raises is raised where
    the items are taken. `close` stops it after the item being made and waits for its end.
    """

    def __init__(self, make: Callable[[], Generator[T, None, None]], *, room: int, name: str) -> None:
        self._make = make
        self._room = room
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._done = self._closed = False
        self._changed = threading.Condition()
        # a daemon: a user who never closes the iterator must not keep the program from ending
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Generator[T, None, None]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._done)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Make no more items, drop those made, and wait until the thread has ended."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self._make()) as made:  # here, since this thread has its files open
                for item in made:
                    if not self._put(item):
                        break
        except BaseException as error:  # noqa: BLE001
            self._error = error  # raised where the items are taken
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed
