"""Makes clips from the frames of one video, as an InputSpec specifies; buffers only frames that are still needed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from offnormal.errors import DataError, counted
from offnormal.metrics.clock import Jumps
from offnormal.types import InputSpec

_ROUNDING_S = 0.0015  # containers round times to a millisecond: a frame this late for a tick still counts as on time
_STEADY = 0.98  # share of the nominal frame rate that the estimate of the clip count assumes
_DENSITY = 8  # frames buffered per frame of a uniform clip while the length of the video is unknown


class TimedFrame(Protocol):
    """Anything with the position and time of a frame."""

    @property
    def index(self) -> int:
        """Position in the video, from 0."""
        ...

    @property
    def time_s(self) -> float | None:
        """Seconds since the video's first frame; None: no clock."""
        ...


F = TypeVar("F", bound=TimedFrame)


@dataclass(frozen=True, slots=True)
class Clip(Generic[F]):
    """T frames of one video, and the frames among them that get scores."""

    frames: tuple[F, ...]  # (T,)
    targets: tuple[F, ...]  # (K,) in the order of InputSpec.targets; (): one score for the whole clip


class Windows(Generic[F]):
    """Makes clips of T frames, `hop` source frames apart, that never span a gap or a `reset`.

    With a clock (`fps`), the clip that ends with the frame at time t contains, for each k below T, the last frame that
    is not later than t - k/fps. If the source is slower than the clock, frames are repeated, because skipped clips
    would leave frames without scores; `warnings` has one warning. After a gap (a missing index, or a clock that runs
    backwards or jumps, see `metrics.clock`) a new window starts. every_s: seconds between the ends of two clips,
    instead of the hop; for clips of one frame the frames must already be thinned.
    """

    def __init__(self, spec: InputSpec, *, every_s: float | None = None) -> None:
        self.spec = spec
        self.every_s = every_s
        self.warnings: list[str] = []
        self.gaps: list[int] = []  # index of the first frame after each gap
        self._ring: deque[F] = deque()
        self._jumps = Jumps()
        self._last: F | None = None
        self._since: int | None = None  # frames since the last clip of this segment; None: no clip yet
        self._due_s = -math.inf  # time of the next clip, with every_s
        self._was_reset = False

    def push(self, frame: F) -> list[Clip[F]]:
        """Add the next frame and return the clip that ends with it, if any.

        Raises DataError if the clock is needed and the frame has no time.
        """
        if frame.time_s is None and (self.spec.fps is not None or self.every_s is not None):
            raise DataError(
                f"frame {frame.index} has no time; expected a clock, because clips are taken by time: use a video file "
                "with timestamps, or a detector that takes consecutive frames"
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
        """Return no clip: a clip is complete with its last frame."""
        return []

    def reset(self) -> None:
        """Do not let a clip span this moment."""
        self._was_reset = self._last is not None

    def _is_gap(self, frame: F) -> bool:
        last, was_reset = self._last, self._was_reset
        self._was_reset = False
        if last is None:
            return False
        jumped = False
        if last.time_s is not None and frame.time_s is not None:
            spacing = frame.time_s - last.time_s
            jumped = self._jumps.take(spacing) or spacing < 0
        return was_reset or jumped or frame.index != last.index + 1

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
        time_s = _time(frame)
        if time_s < self._due_s - _ROUNDING_S:
            return False
        is_late = time_s > self._due_s + self.every_s  # at the start, and after a gap
        self._due_s = (time_s if is_late else self._due_s) + self.every_s
        return True

    def _tick(self, back: int) -> float:
        """Return the latest time of a frame for the clock tick that is `back` ticks before the last frame."""
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
                    f"slow: the frame rate is below the {self.spec.fps:g} fps of the clips, so frames are repeated; "
                    f"first in the clip that ends with frame {self._ring[-1].index}"
                )
            chosen.append(frame)
        return tuple(reversed(chosen))

    def _clip(self, frames: tuple[F, ...]) -> Clip[F]:
        return Clip(frames, tuple(frames[target] for target in self.spec.targets))


class Uniform(Generic[F]):
    """Makes one clip of T frames spread evenly over the whole video, from its first to its last frame.

    If the length is known, only the frames of `spread_indices` are buffered. Otherwise at most `_DENSITY` * T frames
    are, at a regular step that doubles as the video gets longer; each frame of the clip is then at most half a step
    from its ideal position, and exactly there for videos of up to `_DENSITY` * T frames.
    """

    def __init__(self, spec: InputSpec, length: int | None = None) -> None:
        self.spec = spec
        self.length = length
        self.warnings: list[str] = []
        self.gaps: list[int] = []
        self._indices = None if length is None else frozenset(spread_indices(length, spec.frames))
        self._buffer: list[F] = []
        self._step = 1  # frames between two buffered frames
        self._frame_count = 0

    def push(self, frame: F) -> list[Clip[F]]:
        """Add the next frame."""
        if frame.index > self._frame_count:
            self.gaps.append(frame.index)
        self._frame_count = frame.index + 1
        if self._is_needed(frame.index):
            self._buffer.append(frame)
        if self._indices is None and len(self._buffer) > _DENSITY * self.spec.frames:
            self._step *= 2
            self._buffer = [frame for frame in self._buffer if self._is_needed(frame.index)]
        return []

    def end(self) -> list[Clip[F]]:
        """Return the clip; none if there was no frame."""
        if not self._buffer:
            return []
        if self.length not in (None, self._frame_count):
            self.warnings.append(
                f"uneven: the video has {counted(self._frame_count, 'frame')}; expected {self.length} by its header"
            )
        indices = [frame.index for frame in self._buffer]
        ideal = spread_indices(self._frame_count, self.spec.frames)
        chosen = tuple(self._buffer[_nearest(indices, index)] for index in ideal)
        return [Clip(chosen, tuple(chosen[target] for target in self.spec.targets))]

    def reset(self) -> None:
        """Do nothing: the clip is spread over the whole video."""

    def _is_needed(self, index: int) -> bool:
        return index % self._step == 0 if self._indices is None else index in self._indices


ClipMaker = Windows[F] | Uniform[F]  # takes the frames of one video in order and returns clips


def make_clip_maker(spec: InputSpec, *, length: int | None = None, every_s: float | None = None) -> ClipMaker[F]:
    """Create the clip maker for one video.

    length: exact number of frames, used only by `uniform` sampling. every_s: see `Windows`.
    """
    return Uniform(spec, length) if spec.sampling == "uniform" else Windows(spec, every_s=every_s)


def spread_indices(length: int, frames: int) -> list[int]:
    """Return the indices of `frames` frames spread evenly from the first to the last; short videos repeat frames.

    As PyTorchVideo's UniformTemporalSubsample: linspace(0, length - 1, frames) rounded down.

    >>> spread_indices(10, 4), spread_indices(2, 4), spread_indices(10, 1)
    ([0, 3, 6, 9], [0, 0, 0, 1], [0])
    """
    return [number * (length - 1) // max(frames - 1, 1) for number in range(frames)] if length else []


def max_clip_count(spec: InputSpec, frames: int, fps: float | None) -> int:
    """Return the number of clips in a video without gaps: exact without a clock, an upper bound with a clock.

    frames, fps: of the video; fps None: unknown.

    >>> max_clip_count(InputSpec(size=(8, 8), frames=4, hop=3), 10, 25.0)
    3
    """
    if spec.sampling == "uniform":
        return min(frames, 1)
    reach = spec.frames - 1
    if spec.fps is not None:
        reach = math.floor(reach / spec.fps * (fps or 0) * _STEADY)
    return max(0, (frames - reach + spec.hop - 1) // spec.hop)


def _nearest(indices: Sequence[int], index: int) -> int:
    after = bisect_left(indices, index)
    if after == len(indices) or (after > 0 and index - indices[after - 1] <= indices[after] - index):
        return after - 1
    return after


def _time(frame: TimedFrame) -> float:
    return frame.time_s if frame.time_s is not None else math.nan
