"""Run the fuzzers: `python -m tests.fuzz.fuzz --seeds 0:10000 images videos`, or `make fuzz SEEDS=0:10000`.

Each input is made from its reader and its seed alone. A child process per reader works through the seeds; when an input
crashes it, the next one continues behind that input. Failing inputs are stored under --failures.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from tests.fuzz.reader import Reader
from tests.fuzz.readers import READERS

LIMIT_S = 60.0  # for one input; a loaded machine is slow
_MEMORY_BYTES = 4 << 30  # more than this at once is a failure


class Hang(BaseException):
    """An input took longer than the limit."""


def failures_of(
    reader: Reader, seeds: range, *, limit_s: float = LIMIT_S, on_start: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, BaseException]]:
    """Yield the seeds whose inputs end in anything but a result or an OffnormalError."""
    with _limited_memory():
        for seed in seeds:
            on_start(seed)
            try:
                with _deadline(limit_s):
                    reader.attempt(seed)
            except (Exception, Hang) as error:  # noqa: BLE001 - this is what is looked for
                yield seed, error


@contextlib.contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"took more than {limit_s} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    previous = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + _MEMORY_BYTES, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous)


class Progress:
    """What a child process has done, in memory that it shares with its parent: it may end at any time."""

    _FORMAT = "qq"

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(self._FORMAT))

    def write(self, seed: int, refused: int) -> None:
        """seed: in progress. refused: inputs before it that ended in an explained error."""
        struct.pack_into(self._FORMAT, self._memory, 0, seed, refused)

    def read(self) -> tuple[int, int]:
        """The seed in progress, and the number of inputs refused."""
        seed, refused = struct.unpack_from(self._FORMAT, self._memory)
        return seed, refused


def _work(
    kind: type[Reader], name: str, seeds: range, folder: Path, failures: Path, progress: Progress, limit_s: float
) -> None:
    """Work through seeds in this process."""
    warnings.simplefilter("ignore")
    reader = kind(folder)

    def start(seed: int) -> None:
        faulthandler.dump_traceback_later(3 * limit_s, exit=True)  # code of libraries that ignores signals
        progress.write(seed, reader.refused)

    for seed, error in failures_of(reader, seeds, limit_s=limit_s, on_start=start):
        (failures / f"{name}-{seed}.txt").write_text("".join(traceback.format_exception(error)), errors="replace")
        with contextlib.suppress(Exception, Hang), _deadline(limit_s):
            reader.attempt(seed, keep=failures)
    progress.write(seeds.stop, reader.refused)


def supervise(
    kind: type[Reader], name: str, seeds: range, failures: Path, *, limit_s: float = LIMIT_S
) -> tuple[list[int], int]:
    """Run children until all seeds are done; return the seeds that failed, and the number of inputs refused."""
    for seed in _failed(name, seeds, failures):  # in an earlier run
        (failures / f"{name}-{seed}.txt").unlink()
    first, refused = seeds.start, 0
    while first < seeds.stop:
        progress = Progress()
        progress.write(first - 1, 0)
        with tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                    _work(kind, name, range(first, seeds.stop), Path(folder) / name, failures, progress, limit_s)
                    code = 0
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reached, refusals = progress.read()
        refused += refusals
        if reached < first:
            raise SystemExit(f"{name}: the fuzzer itself failed (exit code {code})")
        if reached < seeds.stop:
            (failures / f"{name}-{reached}.txt").write_text(f"the process ended with exit code {code}\n")
        first = reached + 1
    return _failed(name, seeds, failures), refused


def _failed(name: str, seeds: range, failures: Path) -> list[int]:
    numbers = (path.stem.removeprefix(f"{name}-") for path in failures.glob(f"{name}-*.txt"))
    return sorted(int(number) for number in numbers if number.isdigit() and int(number) in seeds)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Fuzz the named readers, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"any of {', '.join(READERS)}; default: all")
    parser.add_argument("--seeds", default="0:1000", help="FROM:TO, or a number of seeds")
    parser.add_argument("--failures", type=Path, default=Path("fuzz_failures"))
    options = parser.parse_args()
    first, _, last = options.seeds.rpartition(":")
    seeds = range(int(first or 0), int(last))
    options.failures.mkdir(parents=True, exist_ok=True)
    total = 0
    for name in options.readers or READERS:
        start_s = time.monotonic()
        failed, refused = supervise(READERS[name], name, seeds, options.failures)
        total += len(failed)
        for seed in failed:
            path = options.failures / f"{name}-{seed}.txt"
            _say(f"FAILED {path}: {path.read_text(errors='replace').strip().splitlines()[-1][:150]}")
        seconds = time.monotonic() - start_s
        _say(f"{name}: {len(seeds):,} inputs, {refused:,} refused, {len(failed)} failed, {seconds:.0f} s")
    _say(f"next: SEEDS={seeds.stop}:{seeds.stop + len(seeds)}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
