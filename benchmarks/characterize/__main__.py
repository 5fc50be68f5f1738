"""What the installed program does today, as JSON, to be compared with what it does after a change.

    python benchmarks/characterize --out DIR [--only SECTION ...] [--work DIR]
    python benchmarks/characterize --compare OLD NEW

Runs the `offnormal` that this Python imports, through its command line and its public API, on fixed and seeded
inputs, with one thread; sections that use real data read them from OFFNORMAL_TEST_DATA and are smaller without it.
Writes DIR/SECTION.json, one for each of SECTIONS below. Record a version twice and compare the two, to see that nothing
in it depends on the moment.

`--compare` prints every difference: entries that are missing or new, text that differs, and numbers that differ by
more than a relative 1e-6 (or the section's tolerance, renames.TOLERANCE); it exits with 1 when there is one. Of a
sentence, or of lines that people read, the words may change, but the numbers and defaults in it must still be there.
What was renamed on purpose is listed in renames.py: flags and configuration keys for the calls, keys, columns and
values for the comparison; what differs on purpose, with the reason, in renames.INTENDED. An entry "moved: ..." is an
internal name that is no longer where it was: add its new place there.

Left out when it is recorded or (differences.py, _LOOSE_...) compared, because two records of one version differ in it:
- the day and time of the run, names of run folders, ids of events (which hold a time), what took how long, versions;
- hashes of bundles, calibrations, and data: they hold paths and the format of the bundle; tensors are summed instead,
  and section `state` keeps the hash of weights where two runs must agree;
- of an event in real time its moments and single scores, which depend on the load of the machine (events.py, _steady);
- the port of a server on loopback, and lines of stderr that name it.

How long things take and how much memory they need is not recorded: benchmarks/fit_ratio.py, fit_memory.py and
watch_cameras.py (with 12) measure that, and `python -X importtime -m offnormal --help`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
for _name in [name for name in os.environ if name.startswith("OFFNORMAL_") and name != "OFFNORMAL_TEST_DATA"]:
    del os.environ[_name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every start compiles all libraries anew
sys.dont_write_bytecode = False
os.environ.update({"COLUMNS": "200", "TZ": "UTC", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"})

from differences import compare  # noqa: E402
from program import Program  # noqa: E402

SECTIONS = (  # the longest first
    "detectors_images", "detectors_videos", "detectors_clips", "events", "commands", "reports", "state",
    "layouts", "frames", "networks", "privacy",
)  # fmt: skip


def record(out: Path, only: list[str], work: Path, jobs: int) -> int:
    """Write each section's file, so many at once, each in a process of its own; 1 when one failed."""
    out.mkdir(parents=True, exist_ok=True)
    program = Program(work)
    waiting, running, failed = list(only), set(), 0
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            child = os.fork()
            if child == 0:
                os._exit(_section(program, name, out))
            running.add(child)
        child, status = os.wait()
        running.discard(child)
        failed = failed or int(status != 0)
    return failed


def _section(program: Program, name: str, out: Path) -> int:
    start_s, failed = time.monotonic(), 0
    try:
        entries = importlib.import_module(name).record(program)
    except BaseException as error:  # noqa: BLE001 - one section must not cost the others
        traceback.print_exc()
        entries, failed = {"section failed": f"{type(error).__name__}: {error}"}, 1
    text = json.dumps(program.normalized(entries), indent=1, ensure_ascii=False)
    (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    took, times = time.monotonic() - start_s, os.times()
    busy = times.user + times.system + times.children_user + times.children_system
    print(f"{name}: {len(entries)} entries in {took:.0f} s, {busy:.0f} s of a core", file=sys.stderr, flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the record")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    parser.add_argument("--work", type=Path, help="folder for inputs and runs, to look at; default: removed at the end")
    parser.add_argument("--jobs", type=int, default=2, help="sections at once; their results are the same")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    args = parser.parse_args()
    if args.compare:
        return compare(*args.compare, only=args.only)
    if args.out is None:
        parser.error("--out DIR or --compare OLD NEW")
    if args.work is not None:
        args.work.mkdir(parents=True)
        return record(args.out, args.only, args.work.resolve(), args.jobs)
    with tempfile.TemporaryDirectory(prefix="characterize-") as folder:
        return record(args.out, args.only, Path(folder).resolve(), args.jobs)


if __name__ == "__main__":
    sys.exit(main())
