"""Small trees of action clips for tests: the generator of the benchmarks, small and short."""

from __future__ import annotations

from pathlib import Path

from benchmarks.action_clips import write_tree

ACTIONS = (
    "Run-Side",
    "Kicking-Front",
    "Kicking-Side",
    "Swing-Bench",
    "Swing-SideAngle",
    "Diving-Side",
    "Lifting",
    "Walk-Front",
)
NORMAL = ("Run-Side", "Kicking", "Swing-Bench", "Swing-SideAngle", "Diving-Side")


def write_actions(root: Path, *, clips: int = 5, seed: int = 0) -> Path:
    """The official tree with five normal and two anomalous classes, 48 x 64 pixels, about a second each."""
    return write_tree(root, clips=clips, size=(48, 64), seed=seed, actions=ACTIONS, seconds=(0.8, 1.2))
