"""Peak memory of a fit against the number of images: it must not grow with them.

    python benchmarks/fit_memory.py --data bottle/train/good --images 200 2000

Each fit runs in a process of its own; the images are links to those of the folder, over and over.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from offnormal.sources.paths import images_in

FIT = """
import resource, sys
from offnormal.cli.main import run
assert run(["fit", "padim", "--normal", sys.argv[1], "--out", sys.argv[2], *sys.argv[3:]]) == 0
sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def peak_mb(pictures: list[Path], number: int, options: list[str]) -> float:
    """Peak resident memory in MB of a fit on so many images."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "normal"
        folder.mkdir()
        for i, path in enumerate(itertools.islice(itertools.cycle(pictures), number)):
            (folder / f"{i:06}{path.suffix}").symlink_to(path.resolve())
        command = [sys.executable, "-c", FIT, str(folder), str(Path(work) / "runs"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stderr.split()[-1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with normal images")
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2000])
    arguments, options = parser.parse_known_args()
    pictures = images_in(arguments.data)
    print("| images | peak memory (MB) |\n|---|---|")
    for number in arguments.images:
        print(f"| {number} | {peak_mb(pictures, number, options):.0f} |", flush=True)


if __name__ == "__main__":
    main()
