"""A small dataset of videos in the tree of one's own videos: a dot that wanders, and once a bright square."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.video_files import write_video

FPS, FRAMES, SIZE = 10, 40, 64
ANOMALY = (18, 30)  # frames of the test video with the square


def film(seed: int, *, anomaly: tuple[int, int] | None = None, frames: int = FRAMES) -> list[np.ndarray]:
    """Frames (64, 64, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    ground = 90 + 30 * np.sin(x / 5) + 20 * np.cos(y / 7)
    images = []
    for i in range(frames):
        picture = ground + rng.normal(0, 3, ground.shape)
        center = 32 + 20 * np.sin(i / 6 + seed)
        picture[np.hypot(y - 40, x - center) < 5] = 200
        if anomaly is not None and anomaly[0] <= i < anomaly[1]:
            picture[6:22, 8:24] = 250
        images.append(np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return images


def write_footage(root: Path, *, train: int = 3, labels: bool = True, frames: int = FRAMES) -> Path:
    """`train/` with so many videos, `test/odd.mp4` with an anomaly, `test/calm.mp4` without, `labels/*.csv`."""
    for folder in ("train", "test", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(train):
        write_video(root / "train" / f"{i}.mp4", film(i, frames=frames), fps=FPS)
    for name, span in (("odd", ANOMALY), ("calm", None)):
        write_video(root / "test" / f"{name}.mp4", film(77, anomaly=span), fps=FPS)
        if labels:
            flags = [int(span is not None and span[0] <= i < span[1]) for i in range(FRAMES)]
            (root / "labels" / f"{name}.csv").write_text("\n".join(map(str, flags)) + "\n")
    return root
