"""What all fuzzed readers share: valid files to start from, changes by a seed, and a check of a changed file."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.fuzz.mutate import mutate_file

_Result = TypeVar("_Result")


class _Listener(logging.Handler):
    """Formats what is logged; what cannot be formatted is a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage().encode("utf-8", "backslashreplace")


_LISTENER = _Listener(logging.WARNING)


class Reader(ABC):
    """Reads files that start valid and are changed; only an OffnormalError or a result is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.seeds = self.write_seeds(folder / "seeds")
        self._contents = [path.read_bytes() for path in self.seeds]
        self.random = Random()  # of one input
        self.errors = self.results = 0  # of its reads
        self.refused = 0  # inputs with nothing but errors that explain themselves

    @abstractmethod
    def write_seeds(self, folder: Path) -> list[Path]:
        """Write the valid files, and return their paths."""

    @abstractmethod
    def check(self, path: Path) -> None:
        """Read a changed file."""

    def attempt(self, seed: int, keep: Path | None = None) -> None:
        """Change a file by a seed, and check it; keep: where to also store the changed file."""
        self.random = Random(f"{type(self).__name__} {seed}")
        number = self.random.randrange(len(self.seeds))
        source = self.seeds[number]
        data = mutate_file(source.name, self._contents[number], self.random, self._contents)
        if keep is not None:
            (keep / f"{type(self).__name__}-{seed}{source.suffix}").write_bytes(data)
        self.check_content(source, data)

    def check_content(self, source: Path, data: bytes) -> None:
        """Check a file that was made from `source`, and count its reads."""
        self.source = source
        path = self.folder / f"changed{source.suffix}"
        path.write_bytes(data)
        self.errors = self.results = 0
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, [_LISTENER]  # others would store or print what is said of each input
        try:
            self.check(path)
        finally:
            root.handlers = handlers
            self.refused += self.errors > 0 and self.results == 0

    def read(self, function: Callable[..., _Result], *arguments: object) -> _Result | None:
        """What a function returns; None for an OffnormalError, which must say something."""
        from offnormal.errors import OffnormalError

        try:
            result = function(*arguments)
        except OffnormalError as error:
            assert str(error).strip(), f"{type(error).__name__} without a message"
            self.errors += 1
            return None
        self.results += 1
        return result
