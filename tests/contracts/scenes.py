"""A small data set of videos: a part that trembles, and in one test video something that jumps about on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.conftest import draw_part
from tests.video_files import write_video

FPS = 10


def write_scenes(root: Path, *, train: int = 3, frames: int = 14, size: int = 64, seed: int = 0) -> Path:
    """train/*.mp4 and test/{good,odd}.mp4 with labels and masks in the form of users' own videos."""
    rng = np.random.default_rng(seed)
    for folder in ("train", "test", "labels", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(train):
        write_video(root / "train" / f"{i}.mp4", [draw_part(rng, size=size)[0] for _ in range(frames)], fps=FPS)
    for name, defect in (("good", False), ("odd", True)):
        drawn = [draw_part(rng, defect=defect, size=size) for _ in range(frames)]
        write_video(root / "test" / f"{name}.mp4", [image for image, _ in drawn], fps=FPS)
        np.save(root / "labels" / f"{name}.npy", np.full(frames, defect, np.uint8))
        np.save(root / "masks" / f"{name}.npy", np.stack([mask for _, mask in drawn]))
    return root
