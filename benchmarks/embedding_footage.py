"""Every head of the embedding autoencoder on footage, with several embedders, as Markdown.

    python benchmarks/embedding_footage.py --data UPCAM [--every 10s] [--clip-fps 5] [--size 64x128]

Each embedder is fitted once, and evaluated once: the heads judge the same embeddings, and each column is the micro AUC
of one of them alone. `r2plus1d_18 (random)` is a control: what a network that has learned nothing gives. `pass (s)` is
what embedding all clips took, `epoch (s)` the median of the epochs over their embeddings, `pass / epoch` how often
that goes into it. The runs lie in --out, ready for `offnormal compare`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from statistics import median
from typing import Any

from offnormal.cli.main import run

EMBEDDERS = {
    "frames:efficientnet_lite0": ["--embedder", "frames:efficientnet_lite0"],
    "r2plus1d_18 (random)": ["--embedder", "r2plus1d_18", "--weights", "random"],
}
HEADS = ("ae", "centroid", "mahalanobis", "knn", "latent")


def json_output(*arguments: str) -> dict[str, Any]:
    """What a verb says as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run([*arguments, "--json"]) == 0, arguments
    output: dict[str, Any] = json.loads(out.getvalue())
    return output


def costs(log: Path) -> tuple[float, float, int]:
    """Seconds of the pass through the embedder and of an epoch after it, and clips that the pass embedded."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    (embedded,) = [line for line in lines if line["event"] == "embedded"]
    epochs = [line["seconds"] for line in lines if line["event"] == "epoch"]
    return embedded["seconds"], median(epochs[1:] or epochs), embedded["computed"]


def row(name: str, args: argparse.Namespace) -> str:
    """One embedder."""
    fit = ["fit", "embedding_ae", "--data", str(args.data), "--out", str(args.out), "--embeddings-gb", "0"]
    fit += ["--clip-fps", args.clip_fps, "--size", args.size, *EMBEDDERS[name]]
    output = json_output(*fit, *(["--every", args.every] if args.every else []), *args.options)
    json_output("evaluate", output["bundle"], "--data", str(args.data), "--cache", "off")
    terms = json.loads((Path(output["run"]) / "metrics.json").read_text(encoding="utf-8"))["terms"]
    heads = " | ".join(f"{terms[head]['frame_AUC_micro']:.3f}" for head in HEADS)
    whole, epoch, clips = costs(Path(output["run"]) / "log.jsonl")
    return f"| {name} | {clips:,} | {heads} | {whole:.1f} | {epoch:.3f} | {whole / epoch:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/embedding-footage"))
    parser.add_argument("--every", help="learn from one clip about every so many seconds, such as 10s")
    parser.add_argument("--clip-fps", default="0", help="of the clips; 0: consecutive frames")
    parser.add_argument("--size", default="64x128", help="of the frames in pixels")
    parser.add_argument("--only", nargs="+", choices=EMBEDDERS, default=list(EMBEDDERS))
    parser.add_argument("options", nargs="*", help="of `offnormal fit embedding_ae`, after --")
    args = parser.parse_args()
    print(f"| embedder | clips | {' | '.join(HEADS)} | pass (s) | epoch (s) | pass / epoch |")
    print("|---" * (len(HEADS) + 5) + "|", flush=True)
    for name in args.only:
        print(row(name, args), flush=True)


if __name__ == "__main__":
    main()
