"""Seeded inputs: drawn parts, films of a yard, clips of movements, digits. The same numbers give the same files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

FPS = 10
_TIME_BASE = Fraction(1, 90_000)


def part(rng: np.random.Generator, *, defect: bool = False, size: tuple[int, int] = (64, 64)) -> list[np.ndarray]:
    """A disc on a striped ground (H, W, 3) uint8, and the mask (H, W) of its defect."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    shift = rng.normal(0, 0.5, 2)
    disc = np.hypot(y - height / 2 - shift[0], x - width / 2 - shift[1]) < min(size) * 0.35
    image = np.where(disc, 170 + rng.normal(0, 5), 60 + 20 * np.sin(x / 3))[..., None] * np.array([1.0, 0.9, 0.8])
    mask = np.zeros(size, np.uint8)
    if defect:
        top, left = rng.integers(min(size) // 3, min(size) // 2, 2)
        mask[top : top + height // 6, left : left + width // 6] = 255
        image[mask > 0] = (30, 200, 40)
    return [(image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8), mask]


def parts(
    root: Path, *, train: int = 24, good: int = 8, bad: int = 8, size: tuple[int, int] = (64, 64), seed: int = 0
) -> Path:
    """A tree in the layout of MVTec AD with one kind of defect, and masks of it."""
    rng = np.random.default_rng(seed)
    for folder, number in (("train/good", train), ("test/good", good), ("test/spot", bad)):
        for i in range(number):
            image, mask = part(rng, defect=folder == "test/spot", size=size)
            picture(root / folder / f"{i:03}.png", image)
            if mask.any():
                picture(root / "ground_truth/spot" / f"{i:03}_mask.png", mask)
    return root


def picture(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def film(seed: int, *, odd: Sequence[tuple[int, int]] = (), frames: int = 40, size: int = 64) -> list[np.ndarray]:
    """Frames (size, size, 3) uint8 of a dot that wanders, with a bright square in some spans of frames."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    ground = 90 + 30 * np.sin(x / 5) + 20 * np.cos(y / 7)
    images = []
    for i in range(frames):
        image = ground + rng.normal(0, 3, ground.shape)
        image[np.hypot(y - size * 0.6, x - size / 2 - size * 0.3 * np.sin(i / 6 + seed)) < size / 13] = 200
        if any(start <= i < stop for start, stop in odd):
            image[size // 10 : size // 3, size // 8 : size * 3 // 8] = 250
        images.append(np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return images


def video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: float = FPS,
    codec: str = "libx264",
    gop: int = 5,
    times: Sequence[float] | None = None,
    format: str | None = None,
    lost: int | None = None,
    lost_clock: int | None = None,
) -> Path:
    """Frames as a video; times in seconds instead of fps; lost: a packet left out; lost_clock: one without a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    quality = {"crf": "10", "preset": "ultrafast", "threads": "1"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=format) as container:
        stream = None
        number = 0
        for i, image in enumerate([*frames, None]):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=quality)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj422p"
                stream.codec_context.max_b_frames, stream.codec_context.gop_size = 0, gop
                if times is not None:
                    stream.codec_context.time_base = _TIME_BASE
            frame = None
            if image is not None:
                frame = av.VideoFrame.from_ndarray(image).reformat(format=stream.pix_fmt)
                frame.time_base = 1 / rate if times is None else _TIME_BASE
                frame.pts = i if times is None else round(times[i] / _TIME_BASE)
            for packet in stream.encode(frame):
                if number == lost_clock:
                    packet.pts = packet.dts = None
                if number != lost:
                    container.mux(packet)
                number += 1
    return path


def yard(root: Path, *, train: int = 3, frames: int = 40, masks: bool = True) -> Path:
    """Videos in the layout `videos`: train, test with and without an anomaly, labels, masks."""
    for i in range(train):
        video(root / "train" / f"{i}.mp4", film(i, frames=frames))
    for name, spans in (("odd", [(18, 30)]), ("calm", []), ("late", [(5, 8), (33, 40)])):
        video(root / "test" / f"{name}.mp4", film(77, odd=spans))
        flags = np.array([any(start <= i < stop for start, stop in spans) for i in range(40)])
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{name}.csv").write_text("\n".join(str(int(flag)) for flag in flags) + "\n")
        if masks:
            marked = np.zeros((40, 64, 64), np.uint8)
            marked[flags, 6:21, 8:24] = 1
            (root / "masks").mkdir(exist_ok=True)
            np.save(root / "masks" / f"{name}.npy", marked)
    return root


def frame_folder(
    folder: Path, number: int = 6, *, first: int = 1, suffix: str = ".png", marked: Iterable[int] = (), seed: int = 0
) -> Path:
    """A folder of numbered pictures of 32 x 48 pixels; marked: masks instead, with these not black."""
    rng = np.random.default_rng(seed)
    masks, kind = set(marked), suffix == ".bmp"
    for i in range(number):
        image = rng.integers(90, 110, (32, 48), np.uint8)
        if masks or kind:
            image = np.zeros((32, 48), np.uint8)
            image[10:20, 10:20] = 255 * (i in masks)
        picture(folder / f"{i + first:03}{suffix}", image)
    return folder


def movements(root: Path, *, clips: int = 10, frames: int = 12, classes: str = "abc") -> Path:
    """Class folders of clips: a dot that goes across, down or round, in a place and colour of its own."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:48, :64]
    for kind in classes:
        for number in range(clips):
            begin, shade = rng.uniform(8, 20, 2), rng.integers(120, 250, 3)
            images = []
            for i in range(frames):
                way = {"a": (0.0, 3.0 * i), "b": (2.0 * i, 0.0)}.get(kind, (12 * np.sin(i / 2), 12 * np.cos(i / 2)))
                image = rng.normal(60, 4, (48, 64, 3))
                image[np.hypot(y - begin[0] - way[0], x - begin[1] - way[1]) < 6] = shade
                images.append(image.clip(0, 255).astype(np.uint8))
            video(root / f"move_{kind}" / f"{number:02}.mp4", images)
    return root


def digits(root: Path, *, train: int = 60, test: int = 40, real: Path | None = None) -> Path:
    """Files in the form of MNIST: strokes of ten kinds; real: a folder with the real test files, cut instead."""
    if real is not None:
        images = np.frombuffer(_unpacked(real, "images"), np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(_unpacked(real, "labels"), np.uint8, offset=8)
    else:
        rng = np.random.default_rng(3)
        labels = (np.arange(train + test) % 10).astype(np.uint8)
        images = rng.integers(0, 30, (train + test, 28, 28), np.uint8)
        for i, label in enumerate(labels):
            images[i, 4:24, 2 + 2 * label : 6 + 2 * label] = rng.integers(200, 256)
    root.mkdir(parents=True)
    for name, span in (("train", slice(0, train)), ("t10k", slice(train, train + test))):
        count = len(images[span])
        (root / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 2051, count, 28, 28) + images[span].tobytes()
        )
        (root / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels[span].tobytes())
    return root


def _unpacked(folder: Path, what: str) -> bytes:
    import gzip

    (path,) = folder.glob(f"*t10k-{what}*")
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content
