"""Small videos for tests: any codec, clock, key pictures, rotation and colors, and files that were cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 90_000)


def numbered(count: int, *, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8 that say their number: 8 blocks, white for a one and black for a zero, highest first."""
    height, width = size
    shades = [[255 * (i >> bit & 1) for bit in reversed(range(8))] for i in range(count)]
    rows = [np.repeat(np.array(shade, np.uint8), -(-width // 8))[:width] for shade in shades]
    return [np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3))) for row in rows]


def number_in(image: np.ndarray) -> int:
    """The number that a frame of `numbered` says, whatever the codec did to it."""
    blocks = np.array_split(image.mean((0, 2)), 8)
    return int("".join("1" if block.mean() > 127 else "0" for block in blocks), 2)


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: float = 25,
    codec: str = "libx264",
    gop: int = 12,
    bframes: int = 0,
    times: Sequence[float] | None = None,
    rotation: float | None = None,
    hflip: bool = False,
    pixels: str | None = None,
    tags: tuple[int, int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames (H, W, 3) uint8 RGB as a video; the suffix names the container.

    times: presentation time of each frame in seconds (variable rate, or a clock that does not begin at 0), instead of
    fps. rotation: degrees clockwise by which a player turns it; hflip: mirrored before that. pixels: pixel format of
    the codec. tags: color matrix and range as FFmpeg numbers them. options: of the codec.
    """
    rate = Fraction(fps).limit_denominator(1001)
    codec_options = {"crf": "10", "preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = None
        for i, image in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options={**codec_options, **(options or {})})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pixels or ("yuv420p" if codec != "mjpeg" else "yuvj422p")
                stream.codec_context.max_b_frames, stream.codec_context.gop_size = bframes, gop
                if times is not None:
                    stream.codec_context.time_base = TIME_BASE
                if tags is not None:
                    stream.codec_context.colorspace, stream.codec_context.color_range = tags
                if rotation is not None:
                    stream.set_display_rotation(-rotation, hflip=hflip)
            frame = av.VideoFrame.from_ndarray(image).reformat(format=stream.pix_fmt)
            frame.time_base = 1 / rate if times is None else TIME_BASE
            frame.pts = i if times is None else round(times[i] / TIME_BASE)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with a sound stream alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path: Path, to: Path, share: float) -> Path:
    """The first share (0-1) of a file's bytes as another file."""
    content = path.read_bytes()
    to.write_bytes(content[: int(len(content) * share)])
    return to
