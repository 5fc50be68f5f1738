"""Run the fuzzers: `python -m tests.fuzz.fuzz --seeds 0:10000 images videos`, or `make fuzz SEEDS=0:10000`.

Each input is made from its reader and its seed alone. A child process per reader works through the seeds; when an input
crashes it, the next one continues behind that input. Failing inputs are stored under --failures.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.fuzz.readers import READERS, Reader

LIMIT_S = 60  # for one input; a loaded machine is slow
_MEMORY_BYTES = 4 << 30  # more than this at once is a failure


class Hang(BaseException):
    """An input took longer than the limit."""


def failures_of(reader: Reader, seeds: range, *, on_start=lambda _: None) -> Iterator[tuple[int, BaseException]]:
    """Yield the seeds whose inputs end in anything but a result or an OffnormalError."""
    with _limited_memory():
        for seed in seeds:
            on_start(seed)
            try:
                with _deadline():
                    reader.attempt(seed)
            except (Exception, Hang) as error:  # noqa: BLE001 - this is what is looked for
                yield seed, error


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"took more than {LIMIT_S} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
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


def _work(name: str, seeds: range, state: Path, failures: Path) -> None:
    """Work through seeds in this process; `state` has the seed in progress."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, state.open("r+b", buffering=0) as progress:
        reader = READERS[name](Path(folder) / name)

        def start(seed: int) -> None:
            faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True)  # code of libraries that ignores signals
            os.pwrite(progress.fileno(), b"%20d" % seed, 0)

        for seed, error in failures_of(reader, seeds, on_start=start):
            (failures / f"{name}-{seed}.txt").write_text("".join(traceback.format_exception(error)), errors="replace")
            with contextlib.suppress(Exception, Hang), _deadline():
                reader.attempt(seed, keep=failures)
        os.pwrite(progress.fileno(), b"%20d" % seeds.stop, 0)


def _supervise(name: str, seeds: range, failures: Path) -> tuple[int, float]:
    """Run children until all seeds are done; return the number of failures and the seconds."""
    before, start_s, crashes = set(failures.glob(f"{name}-*.txt")), time.monotonic(), 0
    with tempfile.NamedTemporaryFile() as state:
        first = seeds.start
        while first < seeds.stop:
            Path(state.name).write_bytes(b"%20d" % (first - 1))
            code = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.fuzz", "--child", state.name, "--seeds", f"{first}:{seeds.stop}",
                 "--failures", str(failures), name],
                stderr=subprocess.DEVNULL, check=False,
            ).returncode  # fmt: skip
            reached = int(Path(state.name).read_bytes())
            if reached < first:
                raise SystemExit(f"{name}: the fuzzer itself failed (exit code {code})")
            if reached < seeds.stop:
                crashes += 1
                (failures / f"{name}-{reached}.txt").write_text(f"the process ended with exit code {code}\n")
            first = reached + 1
    after = set(failures.glob(f"{name}-*.txt"))
    for path in sorted(after - before):
        _say(f"FAILED {path}: {path.read_text(errors='replace').strip().splitlines()[-1][:150]}")
    return len(after - before), time.monotonic() - start_s


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Fuzz the named readers, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"any of {', '.join(READERS)}; default: all")
    parser.add_argument("--seeds", default="0:1000", help="FROM:TO, or a number of seeds")
    parser.add_argument("--failures", type=Path, default=Path("fuzz_failures"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    first, _, last = options.seeds.rpartition(":")
    seeds = range(int(first or 0), int(last))
    options.failures.mkdir(parents=True, exist_ok=True)
    if options.child is not None:
        _work(options.readers[0], seeds, options.child, options.failures)
        return 0
    total = 0
    for name in options.readers or READERS:
        failed, seconds = _supervise(name, seeds, options.failures)
        total += failed
        _say(f"{name}: {len(seeds):,} inputs, {failed} failed, {seconds:.0f} s")
    _say(f"next: SEEDS={seeds.stop}:{seeds.stop + len(seeds)}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
