"""Frames of one video, in order -> clips as an InputSpec says; only the frames still needed are kept."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from offnormal.errors import DataError
from offnormal.metrics.clock import Jumps
from offnormal.types import InputSpec

_ROUNDING_S = 0.0015  # containers round times to a millisecond: a frame this late for a tick still counts as on it
_STEADY = 0.98  # share of the nominal frame rate that clips are counted with beforehand
_DENSITY = 8  # frames held for each frame of a uniform clip while the length of the video is unknown


class Timed(Protocol):
    """A frame, or whatever stands for it: its place and time in the video."""

    @property
    def index(self) -> int:
        """Position in the video, from 0."""
        ...

    @property
    def time_s(self) -> float | None:
        """Seconds since the video's first frame; None where there is no clock."""
        ...


F = TypeVar("F", bound=Timed)


@dataclass(frozen=True, slots=True)
class Clip(Generic[F]):
    """T frames of one video and those of them that its scores speak of."""

    frames: tuple[F, ...]  # (T,)
    targets: tuple[F, ...]  # (K,) as InputSpec.targets orders them; (): the clip as a whole


class Windows(Generic[F]):
    """Clips of T frames, `hop` source frames apart, that never reach across a gap or a `reset`.

    On a clock (`fps`) the clip that ends with the frame at time t has, for each k below T, the last frame that is not
    later than t - k/fps. A source slower than the clock repeats frames, since leaving clips out would leave frames
    without scores; `warnings` says so once. After a gap (a missing index, a clock that runs backwards or jumps, as
    `metrics.clock` says) everything starts anew. every_s: seconds between the ends of two clips, in
    place of the hop; frames given for images are then taken as thinned already.
    """

    def __init__(self, spec: InputSpec, *, every_s: float | None = None) -> None:
        self.spec = spec
        self.every_s = every_s
        self.warnings: list[str] = []
        self.gaps: list[int] = []  # index of the first frame after each gap
        self._ring: deque[F] = deque()
        self._jumps = Jumps()
        self._last: F | None = None
        self._since: int | None = None  # frames since the last clip of this stretch; None: no clip yet
        self._due_s = -math.inf  # of the next clip, with every_s
        self._torn = False

    def push(self, frame: F) -> list[Clip[F]]:
        """Take the next frame; the clip that ends with it, if one does.

        Raises DataError when the clock is needed and the frame has no time.
        """
        if frame.time_s is None and (self.spec.fps is not None or self.every_s is not None):
            raise DataError(
                f"frame {frame.index} has no time, but its clip is to be taken by the clock: give a video file, whose "
                "frames have times, or a detector that takes consecutive frames"
            )
        if self.every_s is not None and self.spec.frames == 1:
            return [self._clip((frame,))]
        if self._is_gap(frame):
            self.gaps.append(frame.index)
            self._ring.clear()
            self._since = None
        self._last = frame
        self._ring.append(frame)
        if self._since is not None:
            self._since += 1
        self._drop_old()
        if not self._is_full() or not self._is_due(frame):
            return []
        self._since = 0
        return [self._clip(tuple(self._ring) if self.spec.fps is None else self._on_clock())]

    def end(self) -> list[Clip[F]]:
        """None: a clip is complete with its last frame."""
        return []

    def reset(self) -> None:
        """Let no clip reach across this moment."""
        self._torn = self._last is not None

    def _is_gap(self, frame: F) -> bool:
        last, torn = self._last, self._torn
        self._torn = False
        if last is None:
            return False
        jumped = False
        if last.time_s is not None and frame.time_s is not None:
            spacing = frame.time_s - last.time_s
            jumped = self._jumps.take(spacing) or spacing < 0
        return torn or jumped or frame.index != last.index + 1

    def _drop_old(self) -> None:
        if self.spec.fps is None:
            while len(self._ring) > self.spec.frames:
                self._ring.popleft()
            return
        while len(self._ring) > 1 and _time(self._ring[1]) <= self._tick(self.spec.frames - 1):
            self._ring.popleft()

    def _is_full(self) -> bool:
        if self.spec.fps is None:
            return len(self._ring) == self.spec.frames
        return _time(self._ring[0]) <= self._tick(self.spec.frames - 1)

    def _is_due(self, frame: F) -> bool:
        if self.every_s is None:
            return self._since is None or self._since >= self.spec.hop
        now = _time(frame)
        if now < self._due_s - _ROUNDING_S:
            return False
        behind = now > self._due_s + self.every_s  # at the start, and after a gap
        self._due_s = (now if behind else self._due_s) + self.every_s
        return True

    def _tick(self, back: int) -> float:
        """The latest time of a frame that stands for the clock's tick `back` before the last frame."""
        return _time(self._ring[-1]) - back / (self.spec.fps or 1) + _ROUNDING_S

    def _on_clock(self) -> tuple[F, ...]:
        older = reversed(self._ring)
        frame = next(older)
        chosen = [frame]
        for back in range(1, self.spec.frames):
            while _time(frame) > self._tick(back):
                frame = next(older)
            if frame is chosen[-1] and not self.warnings:
                self.warnings.append(
                    f"slow: fewer frames come than the {self.spec.fps:g} a second that a clip takes, so that frames "
                    f"are repeated, first in the clip that ends with frame {self._ring[-1].index}"
                )
            chosen.append(frame)
        return tuple(reversed(chosen))

    def _clip(self, frames: tuple[F, ...]) -> Clip[F]:
        return Clip(frames, tuple(frames[target] for target in self.spec.targets))


class Uniform(Generic[F]):
    """One clip of T frames spread over the whole video, from its first frame to its last.

    With the length known, only the frames of `spread` are kept. Without, at most `_DENSITY` * T frames are, at regular
    distances that double when the video turns out longer; each frame of the clip then lies at most half such a
    distance from its place, and exactly there in videos of up to `_DENSITY` * T frames.
    """

    def __init__(self, spec: InputSpec, length: int | None = None) -> None:
        self.spec = spec
        self.length = length
        self.warnings: list[str] = []
        self.gaps: list[int] = []
        self._wanted = None if length is None else frozenset(spread(length, spec.frames))
        self._kept: list[F] = []
        self._step = 1  # frames between two kept ones
        self._seen = 0

    def push(self, frame: F) -> list[Clip[F]]:
        """Take the next frame."""
        if frame.index > self._seen:
            self.gaps.append(frame.index)
        self._seen = frame.index + 1
        if self._wants(frame.index):
            self._kept.append(frame)
        if self._wanted is None and len(self._kept) > _DENSITY * self.spec.frames:
            self._step *= 2
            self._kept = [frame for frame in self._kept if self._wants(frame.index)]
        return []

    def end(self) -> list[Clip[F]]:
        """The clip; none when there was no frame."""
        if not self._kept:
            return []
        if self.length not in (None, self._seen):
            self.warnings.append(f"uneven: {self.length} frames were expected and {self._seen} came")
        places = [frame.index for frame in self._kept]
        chosen = tuple(self._kept[_nearest(places, place)] for place in spread(self._seen, self.spec.frames))
        return [Clip(chosen, tuple(chosen[target] for target in self.spec.targets))]

    def reset(self) -> None:
        """Nothing: the one clip is spread over the whole video."""

    def _wants(self, index: int) -> bool:
        return index % self._step == 0 if self._wanted is None else index in self._wanted


ClipMaker = Windows[F] | Uniform[F]  # takes the frames of one video in order, and gives clips


def clip_maker(spec: InputSpec, *, length: int | None = None, every_s: float | None = None) -> ClipMaker[F]:
    """What makes the clips of one video.

    length: how many frames the video has, exactly; only `uniform` sampling asks. every_s: see `Windows`.
    """
    return Uniform(spec, length) if spec.sampling == "uniform" else Windows(spec, every_s=every_s)


def spread(length: int, frames: int) -> list[int]:
    """Indices of `frames` frames spread over a video, with its first and its last; repeated when it has fewer.

    They are those of PyTorchVideo's UniformTemporalSubsample, linspace(0, length - 1, frames) rounded down.

    >>> spread(10, 4), spread(2, 4), spread(10, 1)
    ([0, 3, 6, 9], [0, 0, 0, 1], [0])
    """
    return [place * (length - 1) // max(frames - 1, 1) for place in range(frames)] if length else []


def most_clips(spec: InputSpec, frames: int, fps: float | None) -> int:
    """How many clips a video without gaps gives: exactly so by frames, at most so by the clock.

    frames, fps: of the video; fps None: unknown.

    >>> most_clips(InputSpec(size=(8, 8), frames=4, hop=3), 10, 25.0)
    3
    """
    if spec.sampling == "uniform":
        return min(frames, 1)
    reach = spec.frames - 1
    if spec.fps is not None:
        reach = math.floor(reach / spec.fps * (fps or 0) * _STEADY)
    return max(0, (frames - reach + spec.hop - 1) // spec.hop)


def _nearest(places: Sequence[int], wanted: int) -> int:
    after = bisect_left(places, wanted)
    if after == len(places) or (after > 0 and wanted - places[after - 1] <= places[after] - wanted):
        return after - 1
    return after


def _time(frame: Timed) -> float:
    return frame.time_s if frame.time_s is not None else math.nan
