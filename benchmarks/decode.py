"""Frames per second that reading a video gives on one thread, RGB conversion included, beside decoding alone.

    python benchmarks/decode.py clip.mp4 ...

CPU seconds are of the whole process: equal to the time taken where only one core was used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

from offnormal.sources.cursor import Cursor
from offnormal.sources.video import open_video


def timed(items: Iterable[object]) -> tuple[int, float, float]:
    """How many there are, and the seconds and CPU seconds it takes to go through them."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in items)
    return count, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--repeat", type=int, default=3, help="the fastest pass counts")
    arguments = parser.parse_args()
    print("| video | size | frames | frames/s | CPU s | decoding alone, frames/s |\n|---|---|---|---|---|---|")
    for path in arguments.videos:
        with open_video(path) as reader:
            height, width = reader.info.size
            count, wall, cpu = min((timed(reader.frames()) for _ in range(arguments.repeat)), key=lambda run: run[1])
        alone = "-"
        if path.is_file():
            with Cursor(path, lambda _: None) as cursor:
                decoded, seconds, _ = timed(iter(cursor.read, None))
            alone = f"{decoded / seconds:.0f}"
        print(f"| {path.name} | {width} x {height} | {count} | {count / wall:.0f} | {cpu:.2f} | {alone} |", flush=True)


if __name__ == "__main__":
    main()
