"""Health of a camera: no frames, a frozen image, a covered or defocused lens, a changed scene.

Pure functions of small images and their times.
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
_SIDE = 320  # pixels, maximum of the longer side: cheap, yet fine enough to lose detail when defocused
_BLOCKS = 24  # maximum of the longer side, for changes of the whole scene


class HealthOptions(VerbConfig):
    """Limits of camera health, in seconds and in shares (0-1) of what is usual for this camera."""

    no_frames_s: _Positive = 20.0
    frozen_s: _Positive = 30.0  # duration of exact repeats; encoders repeat images of empty rooms for 1-2 s
    covered_s: _Positive = 5.0
    covered_detail: _Positive = 0.25  # covered: less detail than this share of the usual, and
    covered_contrast: _Positive = 0.5  # less contrast than this share
    defocused_s: _Positive = 10.0
    defocused_detail: _Positive = 0.5  # defocused: less detail than this share, with usual contrast
    change_s: _Positive = 1.0  # time span of a change of the whole scene
    change_levels: _Positive = 25.0  # gray levels (of 255) by which a block must change
    change_share: _Positive = 0.6  # share of blocks that must change
    settle_s: _Positive = 10.0  # duration after a change of the whole scene during which anomalies are ignored
    learn_s: _Positive = 30.0  # of frames to measure the usual state, at the start and after a change
    memory_s: _Positive = 600.0  # averaging time of the usual detail and contrast
    clear_s: _Positive = 2.0  # without a trouble before it ends


@dataclass(frozen=True, slots=True)
class Finding:
    """The start or the end of a trouble."""

    trouble: Trouble
    begins: bool
    time_s: float  # when it was detected
    since_s: float  # when it began
    detail: str  # what was measured


@dataclass(frozen=True, slots=True, eq=False)
class SmallImage:
    """The reduced frame that the checks use."""

    gray: np.ndarray  # (h, w) float32, 0-255
    lattice: np.ndarray  # (h, w, 3) uint8, every n-th pixel of the frame

    @classmethod
    def from_frame(cls, image: np.ndarray) -> SmallImage:
        """Reduce a frame (H, W, 3) uint8."""
        step = max(1, math.ceil(max(image.shape[:2]) / _SIDE))
        gray = Image.fromarray(image).reduce(step).convert("L")
        return cls(np.asarray(gray, dtype=np.float32), image[::step, ::step].copy())


class CameraHealth:
    """Detects troubles from every frame, and from the time while no frame arrives.

    All times are seconds on one monotonic clock. The usual state is not updated while the lens is covered or defocused,
    so a trouble lasts until it ends. After a change of the whole scene, the usual state is measured again.
    """

    def __init__(self, options: HealthOptions | None = None, *, now_s: float = 0.0) -> None:
        options = self.options = options or HealthOptions()
        self._frame_s = now_s
        self._no_frames = _LastingTrouble("no_frames", options.no_frames_s, 0)
        self._frozen = _LastingTrouble("frozen", options.frozen_s, 0)
        self._covered = _LastingTrouble("covered", options.covered_s, options.clear_s)
        self._defocused = _LastingTrouble("defocused", options.defocused_s, options.clear_s)
        self._change = _LastingTrouble("scene_change", 0, options.settle_s)
        self._last: np.ndarray | None = None
        self._recent: deque[tuple[float, np.ndarray]] = deque()
        self._usual = _UsualState(options.memory_s)
        self._changed = False  # the scene changed since the usual state was measured
        self._changed_share = 0.0  # largest share of the image in the current or last change of the scene

    @property
    def troubles(self) -> list[Trouble]:
        """Current troubles."""
        every = (self._no_frames, self._frozen, self._covered, self._defocused, self._change)
        return [each.trouble for each in every if each.began]

    @property
    def suppresses_anomalies(self) -> bool:
        """Whether to ignore anomalies: the whole scene has just changed."""
        return self._change.began

    def tick(self, now_s: float) -> list[Finding]:
        """Update the time while no frame arrives."""
        missing_s = now_s - self._frame_s
        findings = [self._no_frames.update_at(now_s, missing_s > 0, f"for {missing_s:.0f} s", since_s=self._frame_s)]
        findings.append(self._change.update_at(now_s, False, ""))
        return [finding for finding in findings if finding is not None]

    def gap(self) -> None:
        """Mark a gap in the frames: no repeat and no change is detected across it."""
        self._last = None
        self._recent.clear()

    def update(self, image: SmallImage, now_s: float) -> list[Finding]:
        """Update with a frame that arrived at this time."""
        passed_s, self._frame_s = now_s - self._frame_s, now_s
        findings = [
            self._no_frames.update_at(now_s, False, ""),
            self._check_frozen(image.lattice, now_s),
            self._check_change(image.gray, now_s),
            *self._check_lens(image.gray, now_s, passed_s),
        ]
        return [finding for finding in findings if finding is not None]

    def _check_frozen(self, lattice: np.ndarray, now_s: float) -> Finding | None:
        same = self._last is not None and np.array_equal(lattice, self._last)
        self._last = lattice
        return self._frozen.update_at(now_s, same, "every frame is exactly the same")

    def _check_change(self, gray: np.ndarray, now_s: float) -> Finding | None:
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
        detail = f"{100 * self._changed_share:.0f} % of the image within {self.options.change_s:g} s"
        return self._change.update_at(now_s, changes, detail)

    def _check_lens(self, gray: np.ndarray, now_s: float, passed_s: float) -> list[Finding | None]:
        options, usual = self.options, self._usual
        detail, contrast = _detail(gray), float(gray.std())
        if usual.duration_s < options.learn_s:
            usual.update_mean(detail, contrast, passed_s)
            return []
        detail_share, contrast_share = detail / usual.detail, contrast / usual.contrast
        covered = detail_share < options.covered_detail and contrast_share < options.covered_contrast
        if self._changed and not self.suppresses_anomalies and not covered:  # different light, different image
            self._changed = False
            usual.reset()
            return [self._covered.update_at(now_s, False, ""), self._defocused.update_at(now_s, False, "")]
        defocused = detail_share < options.defocused_detail and not covered
        if not (covered or defocused or self._changed):
            usual.update_mean(detail, contrast, passed_s)
        measured = f"{100 * detail_share:.0f} % of the usual detail, {100 * contrast_share:.0f} % of the usual contrast"
        return [
            self._covered.update_at(now_s, covered, measured),
            self._defocused.update_at(now_s, defocused and not self._changed, measured),
        ]


class _UsualState:
    """Running mean of detail and contrast."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self.detail = self.contrast = self.duration_s = 0.0

    def update_mean(self, detail: float, contrast: float, passed_s: float) -> None:
        passed_s = min(max(passed_s, 1e-3), 1.0)  # limits the weight of one frame after a long gap
        self.duration_s += passed_s
        share = passed_s / min(self.duration_s, self._memory_s)
        self.detail += (max(detail, 1e-3) - self.detail) * share
        self.contrast += (max(contrast, 1e-3) - self.contrast) * share

    def reset(self) -> None:
        self.detail = self.contrast = self.duration_s = 0.0


class _LastingTrouble:
    """A trouble that begins after it has lasted for a time and ends after it has been clear for a time."""

    def __init__(self, trouble: Trouble, lasts_s: float, clear_s: float) -> None:
        self.trouble: Trouble = trouble
        self.began = False
        self._lasts_s, self._clear_s = lasts_s, clear_s
        self._since_s: float | None = None
        self._clear_since_s: float | None = None

    def update_at(self, now_s: float, is_present: bool, detail: str, *, since_s: float | None = None) -> Finding | None:
        if is_present:
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
    """Return the mean difference of neighboring pixels, in gray levels."""
    return float(abs(np.diff(gray, axis=0)).mean() + abs(np.diff(gray, axis=1)).mean()) if min(gray.shape) > 1 else 0.0


def _blocks(gray: np.ndarray) -> np.ndarray:
    """Return the means of square blocks; remaining pixels at the right and bottom belong to the last blocks."""
    step = max(1, math.ceil(max(gray.shape) / _BLOCKS))
    rows, columns = range(0, max(1, gray.shape[0] - step + 1), step), range(0, max(1, gray.shape[1] - step + 1), step)
    sums = np.add.reduceat(np.add.reduceat(gray, list(rows), 0), list(columns), 1)
    counts = np.outer(np.diff([*rows, gray.shape[0]]), np.diff([*columns, gray.shape[1]]))
    return np.asarray(sums / counts)
