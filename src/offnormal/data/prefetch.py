"""Prefetches the items of an iterator in a separate thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates over the generator `make()`; prefetches up to `capacity` items.

    The whole generator, including its start and cleanup, runs in one thread. Its exceptions are raised in the consumer.
    `close` stops it after the current item and waits for its end.
    """

    def __init__(self, make: Callable[[], Generator[T, None, None]], *, capacity: int, name: str) -> None:
        self._make = make
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._done = self._closed = False
        self._changed = threading.Condition()
        # a daemon, so that the program can end even if the iterator is never closed
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
        """Stop the generator, drop all prefetched items, and wait for the thread to end."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self._make()) as items:  # closed here, because its files belong to this thread
                for item in items:
                    if not self._put(item):
                        break
        except BaseException as error:  # noqa: BLE001
            self._error = error  # raised in the consumer
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed
