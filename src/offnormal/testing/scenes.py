"""Small drawn datasets for checks: images or videos of a part, some with a spot as defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.recording.clips import Mp4File

FPS = 10
SHIFT = 0.5  # standard deviation of the part's position, in pixels


def draw_part(
    rng: np.random.Generator, *, defect: bool = False, size: int = 64, shift: float = SHIFT
) -> tuple[np.ndarray, np.ndarray]:
    """A disc on a striped background with noise, (H, W, 3) uint8, and the mask (H, W) of its defect."""
    y, x = np.mgrid[:size, :size]
    offset = rng.normal(0, 1, 2) * shift
    disc = np.hypot(y - size / 2 - offset[0], x - size / 2 - offset[1]) < size * 0.35
    image = np.where(disc, 170 + rng.normal(0, 5), 60 + 20 * np.sin(x / 3))[..., None] * np.array([1.0, 0.9, 0.8])
    mask = np.zeros((size, size), bool)
    if defect:
        top, left = rng.integers(size // 3, size // 2, 2)
        mask[top : top + size // 6, left : left + size // 6] = True
        image[mask] = (30, 200, 40)
    image = image + rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


def write_parts(
    root: Path, *, train: int = 12, good: int = 5, bad: int = 5, size: int = 64, seed: int = 0, shift: float = SHIFT
) -> Path:
    """Write a folder in the layout of MVTec AD: train/good, test/good, test/spot, ground_truth/spot."""
    rng = np.random.default_rng(seed)
    for folder, number in (("train/good", train), ("test/good", good)):
        (root / folder).mkdir(parents=True)
        for i in range(number):
            Image.fromarray(draw_part(rng, size=size, shift=shift)[0]).save(root / folder / f"{i:03}.png")
    for folder in ("test/spot", "ground_truth/spot"):
        (root / folder).mkdir(parents=True)
    for i in range(bad):
        image, mask = draw_part(rng, defect=True, size=size, shift=shift)
        Image.fromarray(image).save(root / f"test/spot/{i:03}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"ground_truth/spot/{i:03}_mask.png")
    return root


def write_scenes(
    root: Path, *, train: int = 3, frames: int = 14, size: int = 64, seed: int = 0, shift: float = SHIFT
) -> Path:
    """Write train/*.mp4 and test/{good,odd}.mp4 with labels and masks; the part trembles, in `odd` it has a spot."""
    rng = np.random.default_rng(seed)
    for folder in ("train", "test", "labels", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(train):
        drawn = [draw_part(rng, size=size, shift=shift)[0] for _ in range(frames)]
        _write_video(root / "train" / f"{i}.mp4", drawn)
    for name, defect in (("good", False), ("odd", True)):
        marked = [draw_part(rng, defect=defect, size=size, shift=shift) for _ in range(frames)]
        _write_video(root / "test" / f"{name}.mp4", [image for image, _ in marked])
        np.save(root / "labels" / f"{name}.npy", np.full(frames, defect, np.uint8))
        np.save(root / "masks" / f"{name}.npy", np.stack([mask for _, mask in marked]))
    return root


def _write_video(path: Path, images: list[np.ndarray]) -> None:
    # libx264 compresses the same frames differently in a process that used its memory before
    with Mp4File(path, FPS, (images[0].shape[0], images[0].shape[1]), threads=1, encoder="mpeg4") as file:
        for image in images:
            file.add(image)
