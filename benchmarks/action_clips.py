"""Generated clips in the tree of UCF Sports: figures of every build and color, told apart by how they move alone.

    python benchmarks/action_clips.py FOLDER [--clips 16] [--size 192x144] [--seed 0]

Each clip has a figure of its own (build, clothes), a ground of its own, a camera that shakes and may pan, and sensor
noise; none has a prop. What differs between the classes is the course of the joints' angles, of the whole body's
turning and of its way through the picture. Clips last 2 to 5 s at 10 frames per second, as in the published set; the
first of each class is an avi (MPEG-4), the second an mp4 (H.264) and so on, with some frames in jpeg/ and boxes in gt/.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

FPS = 10
_SHARP = 2  # times the size that figures are drawn at
_TAU = 2 * np.pi


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """A figure at one moment: angles in radians from hanging down, positive forwards; lengths in heights of it."""

    hips: tuple[float, float] = (0.0, 0.0)  # from the middle of the picture: to the right, and down
    turn: float = 0.0  # of the whole body about its hips
    lean: float = 0.0  # of the trunk
    arms: tuple[float, float] = (0.2, -0.2)
    elbows: tuple[float, float] = (0.2, 0.2)  # bent forwards
    legs: tuple[float, float] = (0.1, -0.1)
    knees: tuple[float, float] = (0.0, 0.0)  # bent backwards
    scale: float = 1.0


Motion = Callable[[float, float, float], Pose]  # seconds, share of the clip 0-1, tempo about 1 -> pose


def _run(t: float, way: float, tempo: float) -> Pose:
    swing = np.sin(_TAU * 1.5 * tempo * t)
    bent = (0.6 - 0.6 * np.cos(_TAU * 1.5 * tempo * t), 0.6 + 0.6 * np.cos(_TAU * 1.5 * tempo * t))
    return Pose(
        hips=(1.3 * (way - 0.5), -0.04 * abs(swing)),
        lean=0.25,
        legs=(0.9 * swing, -0.9 * swing),
        knees=bent,
        arms=(-0.9 * swing, 0.9 * swing),
        elbows=(1.5, 1.5),
    )


def _kick(t: float, way: float, tempo: float) -> Pose:
    gone = np.clip((way - 0.35) * 4, 0, 1)
    swing = -0.8 * np.sin(np.pi * np.clip(way * 2.9, 0, 1)) + 1.9 * np.sin(np.pi * gone)
    return Pose(
        hips=(0.25 * way, 0.0),
        lean=-0.35 * np.sin(np.pi * gone),
        legs=(swing, -0.15),
        knees=(max(0.0, -1.2 * swing), 0.1),
        arms=(-0.6 * gone, 0.9 * gone),
    )


def _golf(t: float, way: float, tempo: float) -> Pose:
    back = np.clip(way / 0.5, 0, 1)
    through = np.clip((way - 0.5) * 5 * tempo, 0, 1)
    arm = 0.5 - 2.6 * np.sin(np.pi / 2 * back) * (1 - through) + 2.4 * through
    return Pose(lean=0.5 - 0.3 * through, arms=(arm, arm), elbows=(0.1, 0.1), legs=(0.25, -0.25), knees=(0.1, 0.1))


def _giant(t: float, way: float, tempo: float) -> Pose:
    turn = _TAU * (0.45 * tempo * t)
    return Pose(
        hips=(0.42 * np.sin(turn), 0.42 * np.cos(turn) - 0.1),
        turn=-turn,
        arms=(np.pi, np.pi),
        elbows=(0.0, 0.0),
        legs=(0.05, -0.05),
    )


def _circles(t: float, way: float, tempo: float) -> Pose:
    turn = _TAU * 0.9 * tempo * t
    return Pose(
        hips=(0.1 * np.cos(turn), 0.05 * np.sin(turn)),
        turn=0.9 * np.sin(turn),
        arms=(0.3 + 0.3 * np.sin(turn), -0.3),
        legs=(1.2 + 0.5 * np.cos(turn), 1.0 + 0.5 * np.cos(turn)),
        knees=(0.1, 0.1),
    )


def _dive(t: float, way: float, tempo: float) -> Pose:
    tuck = np.sin(np.pi * np.clip(way * 1.3, 0, 1))
    return Pose(
        hips=(0.5 * way - 0.2, -0.5 + 1.2 * way**2),
        turn=-_TAU * 1.3 * tempo * way,
        lean=0.9 * tuck,
        arms=(np.pi - 1.6 * tuck,) * 2,
        legs=(1.7 * tuck, 1.6 * tuck),
        knees=(1.6 * tuck,) * 2,
    )


def _ride(t: float, way: float, tempo: float) -> Pose:
    bob = np.sin(_TAU * 2.2 * tempo * t)
    return Pose(
        hips=(1.1 * (way - 0.5), 0.07 * bob),
        lean=0.35 + 0.15 * bob,
        arms=(0.9, 0.8),
        elbows=(0.6 + 0.2 * bob, 0.6),
        legs=(1.1, 0.9),
        knees=(1.3 + 0.2 * bob, 1.2),
    )


def _walk_front(t: float, way: float, tempo: float) -> Pose:
    swing = np.sin(_TAU * 0.9 * tempo * t)
    return Pose(
        hips=(0.03 * swing, 0.0),
        legs=(0.08 + 0.1 * swing, -0.08 + 0.1 * swing),
        knees=(0.25 * max(0.0, swing), 0.25 * max(0.0, -swing)),
        arms=(0.12 - 0.2 * swing, -0.12 - 0.2 * swing),
        scale=0.55 + 0.6 * way,
    )


def _skate(t: float, way: float, tempo: float) -> Pose:
    weave = np.sin(_TAU * 0.35 * tempo * t)
    return Pose(
        hips=(0.45 * weave, 0.05),
        lean=0.25 * weave,
        turn=0.2 * weave,
        legs=(0.45, -0.45),
        knees=(0.35, 0.35),
        arms=(1.2, -1.2),
        elbows=(0.1, 0.1),
        scale=0.6 + 0.5 * way,
    )


def _lift(t: float, way: float, tempo: float) -> Pose:
    down = np.clip(1 - way * 2.4, 0, 1)
    up = np.clip((way - 0.55) * 4 * tempo, 0, 1)
    return Pose(
        hips=(0.0, 0.22 * down),
        lean=1.1 * down,
        legs=(0.3 + 0.9 * down, -0.3 + 1.3 * down),
        knees=(1.7 * down, 1.7 * down),
        arms=(0.15 + 2.9 * up, 0.05 + 2.9 * up),
        elbows=(1.6 * np.sin(np.pi * np.clip(up + 0.2, 0, 1)) * (1 - down),) * 2,
    )


MOTIONS: dict[str, Motion] = {
    "Diving-Side": _dive,
    "Golf-Swing-Back": _golf,
    "Golf-Swing-Front": _golf,
    "Golf-Swing-Side": _golf,
    "Kicking-Front": _kick,
    "Kicking-Side": _kick,
    "Lifting": _lift,
    "Riding-Horse": _ride,
    "Run-Side": _run,
    "SkateBoarding-Front": _skate,
    "Swing-Bench": _circles,
    "Swing-SideAngle": _giant,
    "Walk-Front": _walk_front,
}


def write_tree(
    root: Path,
    *,
    clips: int = 16,
    size: tuple[int, int] = (144, 192),
    seed: int = 0,
    actions: tuple[str, ...] = tuple(MOTIONS),
    seconds: tuple[float, float] = (2.0, 5.0),
) -> Path:
    """`clips` clips of every class, shared among the folders that are merged to one; sides of size (H, W) are even."""
    shared = {name: [other for other in actions if MOTIONS[other] is MOTIONS[name]] for name in actions}
    for name in actions:
        for number in range(shared[name].index(name), clips, len(shared[name])):
            rng = np.random.default_rng((seed, zlib.crc32(name.encode()), number))
            write_clip(root / name / f"{number // len(shared[name]) + 1:03}", name, rng, size=size, seconds=seconds)
    return root


def write_clip(
    folder: Path, action: str, rng: np.random.Generator, *, size: tuple[int, int], seconds: tuple[float, float]
) -> Path:
    """One clip with some of its frames and their boxes beside it, as published; the video."""
    folder.mkdir(parents=True)
    length = round(FPS * rng.uniform(*seconds))
    frames = list(film(action, length, rng, size=size))
    number = int(rng.integers(1000, 9999))
    avi = int(folder.name) % 2 == 1
    path = folder / f"{number}-{folder.name}_7{number:04}.{'avi' if avi else 'mp4'}"
    write_video(path, [frame for frame, _ in frames], codec="mpeg4" if avi else "libx264")
    for inner in ("jpeg", "gt"):
        (folder / inner).mkdir()
    for i, (frame, box) in list(enumerate(frames))[:2]:
        Image.fromarray(frame).save(folder / "jpeg" / f"{path.stem}{i + 1:03}.jpg")
        (folder / "gt" / f"{path.stem}{i + 1:03}.tif.txt").write_text("\t".join(map(str, box)) + f"\t{action}\n")
    return path


def write_video(path: Path, frames: list[np.ndarray], *, codec: str) -> None:
    """Frames (H, W, 3) uint8 as a file."""
    options = {"crf": "18", "preset": "veryfast"} if codec == "libx264" else {"q:v": "3"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(FPS), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if codec == "mpeg4":
            stream.codec_context.bit_rate = 1_500_000
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image).reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def film(
    action: str, length: int, rng: np.random.Generator, *, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Frames (H, W, 3) uint8 and the boxes (x, y, width, height) of the figure in them."""
    height, width = size
    ground = _ground(rng, height + 40, width + 80)
    pan, tempo, mirrored = rng.uniform(-30, 30), rng.uniform(0.85, 1.2), rng.random() < 0.5
    shake = np.cumsum(rng.normal(0, 0.5, (length, 2)), axis=0).clip(-6, 6)
    tall, offset = rng.uniform(0.5, 0.68), rng.normal(0, 0.05, 2)
    build = _Build.drawn(rng)
    noise = rng.uniform(2, 6)
    for i in range(length):
        way = i / max(length - 1, 1)
        pose = MOTIONS[action](i / FPS, way, tempo)
        left, top = 40 + pan * (way - 0.5) + shake[i, 0], 20 + shake[i, 1]
        view = Image.fromarray(ground).transform(
            (width * _SHARP, height * _SHARP),
            Image.Transform.EXTENT,
            (left, top, left + width, top + height),
            Image.Resampling.BILINEAR,
        )
        box = _figure(ImageDraw.Draw(view), pose, build, tall * height, (offset[0] + 0.5, offset[1] + 0.48), size)
        image = np.asarray(view.resize((width, height), Image.Resampling.BOX)).astype(np.float32)
        image = (image + rng.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)
        if mirrored:
            image, box = np.ascontiguousarray(image[:, ::-1]), (width - box[0] - box[2], *box[1:])
        yield image, box


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    skin: tuple[int, ...]
    shirt: tuple[int, ...]
    trousers: tuple[int, ...]
    thick: float
    trunk: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Build:
        def color(low: int, high: int) -> tuple[int, ...]:
            return tuple(int(value) for value in rng.integers(low, high, 3))

        shade = rng.uniform(0.45, 1)
        skin = tuple(int(shade * value) for value in (235, 190, 160))
        return cls(
            skin=skin,
            shirt=color(20, 240),
            trousers=color(10, 200),
            thick=rng.uniform(0.065, 0.1),
            trunk=rng.uniform(0.3, 0.36),
        )


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: two fields of color with soft patches, no two alike."""
    horizon = int(height * rng.uniform(0.35, 0.7))
    upper, lower = rng.uniform(60, 220, 3), rng.uniform(40, 190, 3)
    image = np.where((np.arange(height) < horizon)[:, None, None], upper, lower).repeat(width, 1)
    for scale in (6, 14, 30):
        patches = rng.normal(0, 60 / scale**0.5, (height // scale + 2, width // scale + 2)).astype(np.float32)
        image = (
            image + np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))[..., None]
        )
    return image.clip(0, 255).astype(np.uint8)


def _figure(
    draw: ImageDraw.ImageDraw,
    pose: Pose,
    build: _Build,
    tall: float,
    center: tuple[float, float],
    size: tuple[int, int],
) -> tuple[int, int, int, int]:
    """Draw the figure at `_SHARP` times the size; its box at the size itself."""
    unit = tall * pose.scale
    hips = np.array([center[0] * size[1] + pose.hips[0] * tall, center[1] * size[0] + pose.hips[1] * tall])
    thick = build.thick * unit
    joints: list[np.ndarray] = []

    def limb(start: np.ndarray, angle: float, length: float, color: tuple[int, ...], width: float) -> np.ndarray:
        end = start + length * unit * np.array([np.sin(angle), np.cos(angle)])
        points = [tuple(_SHARP * start), tuple(_SHARP * end)]
        draw.line(points, fill=color, width=max(1, round(_SHARP * width)))
        for x, y in points:
            r = _SHARP * width / 2
            draw.ellipse((x - r, y - r, x + r, y + r), fill=color)
        joints.extend((start, end))
        return end

    upright = pose.turn + np.pi - pose.lean
    neck = hips + build.trunk * unit * np.array([np.sin(upright), np.cos(upright)])
    for side in (1, 0):  # the far side first
        shade = 0.75 if side else 1.0
        trousers, shirt, skin = (
            tuple(int(shade * value) for value in rgb) for rgb in (build.trousers, build.shirt, build.skin)
        )
        knee = limb(hips, pose.turn + pose.legs[side], 0.24, trousers, 1.15 * thick)
        limb(knee, pose.turn + pose.legs[side] - pose.knees[side], 0.24, trousers, thick)
        elbow = limb(neck, pose.turn + pose.arms[side], 0.17, shirt, 0.9 * thick)
        limb(elbow, pose.turn + pose.arms[side] + pose.elbows[side], 0.17, skin, 0.75 * thick)
        if side:
            limb(hips, upright, build.trunk, build.shirt, 2.2 * thick)
    head = neck + 0.09 * unit * np.array([np.sin(upright), np.cos(upright)])
    x, y, r = *(_SHARP * head), _SHARP * 0.075 * unit
    draw.ellipse((x - r, y - r, x + r, y + r), fill=build.skin)
    low, high = np.min([*joints, head - 0.08 * unit], 0), np.max([*joints, head + 0.08 * unit], 0)
    left, top = (int(max(value, 0)) for value in low)
    right, bottom = (int(min(value, limit)) for value, limit in zip(high, (size[1], size[0]), strict=True))
    return left, top, max(right - left, 0), max(bottom - top, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=16, help="of each class")
    parser.add_argument("--size", default="192x144", help="width x height")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    write_tree(args.folder, clips=args.clips, size=(height, width), seed=args.seed)
    print(args.folder)


if __name__ == "__main__":
    main()
