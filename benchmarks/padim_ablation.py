"""PaDiM with one setting changed at a time: accuracy, time and memory as Markdown tables.

    python benchmarks/padim_ablation.py --data BOTTLE MAGNETIC_TILES --results results.jsonl > tables.md

Every row is a fit and an evaluation in a process of its own, on one thread; seconds are those of its processor,
start-up left out, so that other work on the machine counts for little. What is in the results file is not run again, so
that an interrupted run goes on. The first two tables are those of the paper (arXiv 2011.08785, tables I and II).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

PAPER = "--grid-stride 4 --no-eps-relative"
DEFAULT = ""

# table -> (what changes, options)
TABLES: dict[str, list[tuple[str, str]]] = {
    "Layers (each on its own grid, eps 0.01 absolute; paper, table I)": [
        ("stride 4 alone (24 channels)", "--layers blocks.1 --no-eps-relative"),
        ("stride 8 alone (40)", "--layers blocks.2 --no-eps-relative"),
        ("stride 16 alone (112)", "--layers blocks.4 --no-eps-relative"),
        ("sum of the three maps", "--fusion sum --no-eps-relative"),
        ("concatenated on the stride-4 grid (176)", PAPER),
    ],
    "Channels (stride-4 grid, eps 0.01 absolute; paper, table II)": [
        ("random 50", f"{PAPER} --reduce random --features 50"),
        ("random 100", f"{PAPER} --reduce random --features 100"),
        ("random 150", f"{PAPER} --reduce random --features 150"),
        ("all 176", PAPER),
        ("principal components 50", f"{PAPER} --reduce pca --features 50"),
        ("principal components 100", f"{PAPER} --reduce pca --features 100"),
        ("principal components 150", f"{PAPER} --reduce pca --features 150"),
    ],
    "Grid and eps (all channels)": [
        ("stride 16, eps 1 % of each variance (default)", DEFAULT),
        ("stride 16, eps 0.01 absolute", "--no-eps-relative"),
        ("stride 8", "--grid-stride 8"),
        ("stride 4", "--grid-stride 4"),
        ("stride 16, only its own layer", "--layers blocks.4"),
        ("stride 8, only the layers of strides 4 and 8", "--layers blocks.1 --layers blocks.2"),
        ("sum of one map a layer, each on its own grid", "--fusion sum"),
    ],
    "Input size (default otherwise)": [(f"{n} px", f"--size {n}") for n in (192, 224, 256, 320, 384)],
    "Resizing (default otherwise)": [
        ("median aspect (default)", DEFAULT),
        ("stretch to a square", "--resize stretch"),
        ("letterbox", "--resize letterbox"),
        ("shorter side, center crop", "--resize short_side"),
    ],
    "Covariance shrinkage (default otherwise)": [
        ("none (default)", DEFAULT),
        *((f"{share}", f"--shrinkage {share}") for share in (0.02, 0.05, 0.1, 0.2, 0.3)),
        ("auto", "--shrinkage auto"),
    ],
    "Neighboring models and pooling (default otherwise)": [
        ("own position, maximum (default)", DEFAULT),
        ("least of 3 x 3 positions", "--neighbors 3"),
        ("mean of the top 0.1 %", "--pool top"),
        ("mean of the top 1 %", "--pool top --top-share 0.01"),
    ],
    "Precision (stride-4 grid, all channels)": [
        ("float32", "--grid-stride 4 --precision float32"),
        ("float16", "--grid-stride 4 --precision float16"),
        ("bfloat16", "--grid-stride 4 --precision bfloat16"),
    ],
    "Rank: directions kept of 176 (default otherwise)": [
        ("all (default)", DEFAULT),
        *((f"{rank}", f"--rank {rank}") for rank in (8, 16, 32, 64, 128)),
    ],
}

CHILD = """
import contextlib, io, json, sys, time
from pathlib import Path
from offnormal.cli.main import run
data, out, options = sys.argv[1], sys.argv[2], sys.argv[3:]
import offnormal.verbs.fit, offnormal.verbs.evaluate, offnormal.detectors.padim
with contextlib.redirect_stdout(io.StringIO()):
    start = time.process_time()
    assert run(["fit", "padim", "--data", data, "--out", out, *options]) == 0
    fitted = time.process_time() - start
    (folder,) = Path(out).iterdir()
    start = time.process_time()
    assert run(["evaluate", str(folder / "bundle"), "--data", data, "--threads", "1", "--workers", "1"]) == 0
    evaluated = time.process_time() - start
found = json.loads((folder / "metrics.json").read_text())
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
size = sum(file.stat().st_size for file in (folder / "bundle").iterdir())
print(json.dumps({"metrics": found["metrics"], "fit_s": fitted, "evaluate_s": evaluated, "peak": peak, "size": size}))
"""


def measure(data: Path, options: str) -> dict[str, object]:
    """One fit and evaluation; metrics, seconds without start-up, bytes."""
    import tempfile

    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", CHILD, str(data), out, *options.split(), "--threads", "1", "--workers", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{options}: {done.stderr}")
        figures: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return figures


def table(title: str, rows: list[tuple[str, str]], sets: list[Path], results: dict[str, dict[str, object]]) -> str:
    """One Markdown table over all sets."""
    names = [path.name for path in sets]
    head = [f"{name}: image_AUROC | pixel_AUROC | AUPRO | fit (CPU s)" for name in names]
    lines = [f"### {title}", "", f"| setting | {' | '.join(head)} | peak (MB) | bundle (MB) |"]
    lines.append("|---" * (1 + 4 * len(names) + 2) + "|")
    for label, options in rows:
        cells, peak, size = [label], 0.0, 0.0
        for name in names:
            figures = results[f"{name} {options}"]
            metrics = figures["metrics"]
            assert isinstance(metrics, dict)
            cells += [f"{metrics[key]:.4f}" for key in ("image_AUROC", "pixel_AUROC", "pixel_AUPRO")]
            cells.append(f"{figures['fit_s']:.1f}")
            peak, size = max(peak, float(str(figures["peak"]))), max(size, float(str(figures["size"])))
        lines.append("| " + " | ".join([*cells, f"{peak / 1e6:.0f}", f"{size / 1e6:.0f}"]) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True, help="file that results are added to, and read from")
    args = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    if args.results.is_file():
        for line in args.results.read_text().splitlines():
            row = json.loads(line)
            results[row.pop("key")] = row
    for rows in TABLES.values():
        for _, options in rows:
            for data in args.data:
                key = f"{data.name} {options}"
                if key not in results:
                    results[key] = measure(data, options)
                    with args.results.open("a") as file:
                        file.write(json.dumps({"key": key, **results[key]}) + "\n")
                    print(key, results[key]["metrics"], file=sys.stderr, flush=True)
    for title, rows in TABLES.items():
        print(table(title, rows, args.data, results))


if __name__ == "__main__":
    main()
