"""Small IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def idx_bytes(values: np.ndarray) -> bytes:
    """Magic number, sizes, and values."""
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.astype(np.uint8).tobytes()


def write_idx(path: Path, values: np.ndarray) -> Path:
    """Write an IDX file; a name that ends in .gz is packed."""
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def draw_digits(numbers: np.ndarray, size: int = 12, seed: int = 0) -> np.ndarray:
    """(N, size, size): class k is a bright bar in row k, with noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (len(numbers), size, size))
    for image, number in zip(images, numbers, strict=True):
        image[number : number + 2] += 200
    return images.astype(np.uint8)


def write_digits(
    root: Path, *, subsets: tuple[str, ...] = ("t10k",), per_class: int = 6, prefix: str = "", packed: bool = True
) -> Path:
    """Write images and labels of ten classes, `per_class` of each in each subset, in rotation."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, subset in enumerate(subsets):
        labels = np.tile(np.arange(10), per_class)
        end = ".gz" if packed else ""
        write_idx(root / f"{prefix}{subset}-images-idx3-ubyte{end}", draw_digits(labels, seed=seed))
        write_idx(root / f"{prefix}{subset}-labels-idx1-ubyte{end}", labels)
    return root
