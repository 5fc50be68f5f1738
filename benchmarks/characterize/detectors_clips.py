"""Section 1: detectors that embed clips, by windows and as wholes, and those with an encoder of clips."""

from __future__ import annotations

from typing import Any

import inputs
from fitted import whole
from program import Program

_WINDOWS = ("embedding_ae", "--size", 32, "--frames", 4, "--hop", 4, "--steps", 20)
_WHOLE = ("embedding_ae", "--sampling", "uniform", "--frames", 4, "--size", 32, "--steps", 20)
_OF_VIDEOS: dict[str, tuple[object, ...]] = {
    **{f"windows {head}": (*_WINDOWS, "--head", head) for head in ("ae", "centroid", "mahalanobis", "knn")},
    "windows views": (*_WINDOWS, "--views", 2),
    "windows unfreeze": (
        "embedding_ae", "--size", 32, "--frames", 2, "--hop", 8, "--epochs", 2, "--unfreeze", "blocks.4",
        "--unfreeze-at", 2, "--batch-size", 8,
    ),
    "memae encoder": (
        "memae", "--size", 32, "--encoder", "slowonly_r18", "--frames", 8, "--steps", 2, "--batch-size", 2,
    ),
}  # fmt: skip
_OF_CLIPS: dict[str, tuple[object, ...]] = {
    **{f"clips {head}": (*_WHOLE, "--head", head) for head in ("ae", "centroid", "mahalanobis", "knn")},
    "clips network": (*_WHOLE, "--embedder", "r3d_18", "--weights", "random", "--head", "centroid"),
}
_MEASURED = {
    "windows ae",
    "windows knn",
    "memae encoder",
    "clips ae",
    "clips centroid",
    "clips mahalanobis",
    "clips knn",
}


def record(program: Program) -> dict[str, Any]:
    """An entry for each form."""
    root, results = program.folder("clips"), {}
    yard, moves = inputs.yard(root / "yard", masks=False), inputs.movements(root / "moves")
    of_moves: list[Any] = ["--data", moves, "--normal-classes", "move_a", "move_b"]
    for forms, data, test in (
        (_OF_CLIPS, of_moves, moves / "move_c"),
        (_OF_VIDEOS, ["--data", yard], yard / "test"),
    ):
        for name, (detector, *options) in forms.items():
            out = root / "runs" / name.replace(" ", "-")
            results[name] = whole(
                program, str(detector), data, *options, out=out, test=[test], measured=name in _MEASURED
            )
    split: list[Any] = ["--data", moves, "--anomalous-classes", "move_c", "--parts", "40/40/20", "--split-seed", 3]
    out = root / "runs" / "split"
    results["clips other split"] = whole(program, "embedding_ae", split, *_WHOLE[1:], out=out, test=[moves / "move_c"])
    return results
