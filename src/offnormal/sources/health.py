"""What is wrong with a camera itself: no frames, a frozen picture, a covered or defocused lens, a changed scene.

Pure: everything follows from small pictures and the times that come with them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from offnormal.config.model import VerbConfig

Trouble = Literal["no_frames", "frozen", "covered", "defocused", "scene_change"]

_Positive = Annotated[float, Field(gt=0)]
_SIDE = 320  # pixels of the longer side at most: coarse enough to be cheap, fine enough to lose detail to bad focus
_BLOCKS = 24  # of the longer side at most, for changes of the whole scene


class HealthOptions(VerbConfig):
    """When a camera counts as in trouble; seconds, and shares (0-1) of what is usual for this camera."""

    no_frames_s: _Positive = 20.0
    frozen_s: _Positive = 30.0  # of exact repeats; encoders repeat pictures of empty rooms for a second or two
    covered_s: _Positive = 5.0
    covered_detail: _Positive = 0.25  # less detail than this share of the usual, and
    covered_contrast: _Positive = 0.5  # less contrast: there is little to be seen
    defocused_s: _Positive = 10.0
    defocused_detail: _Positive = 0.5  # less detail than this share, though the contrast is there
    change_s: _Positive = 1.0  # within which the whole scene changes
    change_levels: _Positive = 25.0  # of 255, by which a part of the picture counts as changed
    change_share: _Positive = 0.6  # of the parts
    settle_s: _Positive = 10.0  # after a change of the whole scene, while anomalies say nothing
    learn_s: _Positive = 30.0  # of frames before detail and contrast are judged, at the start and after a change
    memory_s: _Positive = 600.0  # over which the usual is averaged
    clear_s: _Positive = 2.0  # without a trouble before it counts as over


@dataclass(frozen=True, slots=True)
class Finding:
    """A trouble that begins or is over."""

    trouble: Trouble
    begins: bool
    time_s: float  # when it was found
    since_s: float  # when it began
    detail: str  # what was measured


@dataclass(frozen=True, slots=True, eq=False)
class SmallPicture:
    """What is looked at of a frame."""

    gray: np.ndarray  # (h, w) float32, 0-255
    lattice: np.ndarray  # (h, w, 3) uint8, single pixels of the frame as they are

    @classmethod
    def of(cls, image: np.ndarray) -> SmallPicture:
        """That of a frame (H, W, 3) uint8."""
        step = max(1, math.ceil(max(image.shape[:2]) / _SIDE))
        gray = Image.fromarray(image).reduce(step).convert("L")
        return cls(np.asarray(gray, dtype=np.float32), image[::step, ::step].copy())


class CameraHealth:
    """Takes every frame that came and, while none does, the time; gives what begins and what is over.

    All times are seconds on one clock that never runs backward. Nothing is learned from a covered or defocused lens, so
    the trouble lasts until it ends. After a change of the whole scene, the usual state is learned again.
    """

    def __init__(self, options: HealthOptions | None = None, *, now_s: float = 0.0) -> None:
        how = self.options = options or HealthOptions()
        self._frame_s = now_s
        self._no_frames = _Lasting("no_frames", how.no_frames_s, 0)
        self._frozen = _Lasting("frozen", how.frozen_s, 0)
        self._covered = _Lasting("covered", how.covered_s, how.clear_s)
        self._defocused = _Lasting("defocused", how.defocused_s, how.clear_s)
        self._change = _Lasting("scene_change", 0, how.settle_s)
        self._last: np.ndarray | None = None
        self._recent: deque[tuple[float, np.ndarray]] = deque()
        self._usual = _Usual(how.memory_s)
        self._changed = False  # and not learned anew since
        self._changed_share = 0.0  # at most, in the last change of the whole scene

    @property
    def troubles(self) -> list[Trouble]:
        """Those that last."""
        every = (self._no_frames, self._frozen, self._covered, self._defocused, self._change)
        return [one.trouble for one in every if one.began]

    @property
    def suppresses(self) -> bool:
        """Whether anomalies say nothing now: the whole scene has just changed."""
        return self._change.began

    def tick(self, now_s: float) -> list[Finding]:
        """No frame has come; the time is this."""
        missing_s = now_s - self._frame_s
        found = [self._no_frames.at(now_s, missing_s > 0, f"for {missing_s:.0f} s", since_s=self._frame_s)]
        found.append(self._change.at(now_s, False, ""))
        return [one for one in found if one is not None]

    def gap(self) -> None:
        """What comes next does not follow what came before: nothing repeats, and nothing changes, across it."""
        self._last = None
        self._recent.clear()

    def look(self, picture: SmallPicture, now_s: float) -> list[Finding]:
        """A frame has come at this time."""
        passed_s, self._frame_s = now_s - self._frame_s, now_s
        found = [
            self._no_frames.at(now_s, False, ""),
            self._look_frozen(picture.lattice, now_s),
            self._look_change(picture.gray, now_s),
            *self._look_seen(picture.gray, now_s, passed_s),
        ]
        return [one for one in found if one is not None]

    def _look_frozen(self, lattice: np.ndarray, now_s: float) -> Finding | None:
        same = self._last is not None and np.array_equal(lattice, self._last)
        self._last = lattice
        return self._frozen.at(now_s, same, "every frame is exactly the same")

    def _look_change(self, gray: np.ndarray, now_s: float) -> Finding | None:
        coarse = _blocks(gray)
        while len(self._recent) > 1 and now_s - self._recent[1][0] >= self.options.change_s:
            self._recent.popleft()
        share = 0.0
        if self._recent and self._recent[0][1].shape == coarse.shape:
            share = float((abs(coarse - self._recent[0][1]) > self.options.change_levels).mean())
        self._recent.append((now_s, coarse))
        changes = share > self.options.change_share
        self._changed = self._changed or changes
        if changes:
            self._changed_share = max(share, self._changed_share if self._change.began else 0.0)
        detail = f"{self._changed_share:.0%} of the image within {self.options.change_s:g} s"
        return self._change.at(now_s, changes, detail)

    def _look_seen(self, gray: np.ndarray, now_s: float, passed_s: float) -> list[Finding | None]:
        how, usual = self.options, self._usual
        detail, contrast = _detail(gray), float(gray.std())
        if usual.learned_s < how.learn_s:
            usual.learn(detail, contrast, passed_s)
            return []
        seen, strength = detail / usual.detail, contrast / usual.contrast
        covered = seen < how.covered_detail and strength < how.covered_contrast
        if self._changed and not self.suppresses and not covered:  # another light, another picture
            self._changed = False
            usual.forget()
            return [self._covered.at(now_s, False, ""), self._defocused.at(now_s, False, "")]
        defocused = seen < how.defocused_detail and not covered
        if not (covered or defocused or self._changed):
            usual.learn(detail, contrast, passed_s)
        measured = f"{seen:.0%} of the usual detail, {strength:.0%} of the usual contrast"
        return [
            self._covered.at(now_s, covered, measured),
            self._defocused.at(now_s, defocused and not self._changed, measured),
        ]


class _Usual:
    """The running mean of detail and contrast."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.detail = self.contrast = self.learned_s = 0.0

    def learn(self, detail: float, contrast: float, passed_s: float) -> None:
        passed_s = min(max(passed_s, 1e-3), 1.0)  # one frame after a long silence does not outweigh many
        self.learned_s += passed_s
        share = passed_s / min(self.learned_s, self._memory_s)
        self.detail += (max(detail, 1e-3) - self.detail) * share
        self.contrast += (max(contrast, 1e-3) - self.contrast) * share

    def forget(self) -> None:
        self.detail = self.contrast = self.learned_s = 0.0


class _Lasting:
    """A trouble that begins when it has lasted, and is over when it was clear for a while."""

    def __init__(self, trouble: Trouble, lasts_s: float, clear_s: float) -> None:
        self.trouble: Trouble = trouble
        self.began = False
        self._lasts_s, self._clear_s = lasts_s, clear_s
        self._since_s: float | None = None
        self._clear_since_s: float | None = None

    def at(self, now_s: float, there: bool, detail: str, *, since_s: float | None = None) -> Finding | None:
        if there:
            self._clear_since_s = None
            if self._since_s is None:
                self._since_s = now_s if since_s is None else since_s
            if not self.began and now_s - self._since_s >= self._lasts_s:
                self.began = True
                return Finding(self.trouble, True, now_s, self._since_s, detail)
            return None
        if not self.began:
            self._since_s = None
            return None
        if self._clear_since_s is None:
            self._clear_since_s = now_s
        if now_s - self._clear_since_s < self._clear_s:
            return None
        began_s, self._since_s, self.began = self._since_s or now_s, None, False
        return Finding(self.trouble, False, now_s, began_s, detail)


def _detail(gray: np.ndarray) -> float:
    """Mean difference of neighboring pixels, in gray levels."""
    return float(abs(np.diff(gray, axis=0)).mean() + abs(np.diff(gray, axis=1)).mean()) if min(gray.shape) > 1 else 0.0


def _blocks(gray: np.ndarray) -> np.ndarray:
    """Means of square blocks; what is left over at the right and below counts with the last ones."""
    step = max(1, math.ceil(max(gray.shape) / _BLOCKS))
    rows, columns = range(0, max(1, gray.shape[0] - step + 1), step), range(0, max(1, gray.shape[1] - step + 1), step)
    sums = np.add.reduceat(np.add.reduceat(gray, list(rows), 0), list(columns), 1)
    counts = np.outer(np.diff([*rows, gray.shape[0]]), np.diff([*columns, gray.shape[1]]))
    return np.asarray(sums / counts)
