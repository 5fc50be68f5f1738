"""What stands below the image of an annotated video: time, verdict, score, and how the score ran lately."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from offnormal.drawing.wording import clock_tenths

GROUND = (18, 22, 29)  # colors of the report's dark page
ALARM = (235, 62, 40)
_INK, _MUTED, _NORMAL, _ABOVE = (232, 235, 240), (152, 162, 179), (82, 130, 180), (240, 132, 90)
_LABELED = (64, 224, 208)  # as masks in the report
_WINDOW_S = 30.0  # of the running score
_HOLD_S = 1.0  # a score is drawn on until the next one, but not over a hole in the recording
_ROOM = 0.1  # left free below and above the scores seen, as a share of their range
_LETTERS, _PER_WIDTH = 14, 60  # pixels of text: no less than this, else a share of the width


_Color = tuple[int, int, int]


class ScorePanel:
    """A panel of one width that is drawn anew for each frame and remembers the scores of the last 30 seconds."""

    def __init__(
        self, width: int, fps: float, threshold: float | None, score_range: tuple[float, float] | None
    ) -> None:
        self.width = width
        self._letters = max(_LETTERS, width // _PER_WIDTH)
        self._status, self._chart, self._lane = 2 * self._letters, 3 * self._letters, max(3, self._letters // 4)
        self.height = self._status + self._chart + self._lane + self._letters // 2
        self._threshold = threshold
        self._fixed = score_range
        seen = threshold if threshold is not None else math.nan
        self._seen = seen, seen
        self._hold_s = max(_HOLD_S, 3 / fps)
        self._scores = np.full(width, np.nan)  # one a pixel column, the newest last
        self._labels = np.zeros(width, np.bool_)
        self._last: tuple[float, float, bool] | None = None  # time, score and label of the frame before

    def draw(
        self, time_s: float, score: float | None, anomalous: bool | None = None, label: int | None = None
    ) -> np.ndarray:
        """The panel (height, width, 3) uint8 after one more frame; a score of None or NaN: not scored."""
        value = math.nan if score is None else float(score)
        self._advance(time_s, value, label == 1)
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        canvas[:] = GROUND
        canvas[: self._status] = self._status_row(time_s, value, anomalous, label)
        top = self._status
        canvas[top : top + self._chart] = self._running()
        lane = canvas[top + self._chart + 1 : top + self._chart + 1 + self._lane]
        lane[:, self._labels] = _LABELED
        return canvas

    def _advance(self, time_s: float, value: float, labeled: bool) -> None:
        """Move the columns on by the time that has passed; the score before lasts until this one."""
        per_s = self.width / _WINDOW_S
        if self._last is not None:
            before, lasting, marked = self._last
            columns = min(max(int(time_s * per_s) - int(before * per_s), 0), self.width)
            held = time_s - before <= self._hold_s
            for store, last in ((self._scores, lasting if held else math.nan), (self._labels, marked and held)):
                if columns:
                    store[:-columns] = store[columns:].copy()
                    store[-columns:] = last
            if not columns:  # several frames on one column: the highest is seen
                value, labeled = float(np.fmax(value, self._scores[-1])), labeled or bool(self._labels[-1])
        self._scores[-1], self._labels[-1] = value, labeled
        self._last = time_s, value, labeled
        self._seen = float(np.fmin(self._seen[0], value)), float(np.fmax(self._seen[1], value))

    def _running(self) -> np.ndarray:
        """The scores of the window as filled columns (chart, width, 3), with the threshold as a dashed line."""
        low, high = self._fixed or self._seen
        span = high - low if high > low else 1.0
        if self._fixed is None:
            low, high, span = low - _ROOM * span, high + _ROOM * span, (1 + 2 * _ROOM) * span
        rows = self._chart - 1
        known = np.isfinite(self._scores)
        height = np.where(known, np.clip((np.where(known, self._scores, low) - low) / span, 0, 1) * rows, -1)
        kind = np.ones(self.width, np.uint8)
        if self._threshold is not None:
            kind += self._scores > self._threshold
        filled = np.arange(rows, -1, -1)[:, None] <= np.round(height).astype(np.int64)
        shown = np.array([(30, 36, 46), _NORMAL, _ABOVE], np.uint8)[filled * kind]
        if self._threshold is not None and low <= self._threshold <= high:
            row = rows - round((self._threshold - low) / span * rows)
            dashed = np.arange(self.width) % self._letters < self._letters * 0.6
            shown[max(0, row - self._letters // 16) : row + 1, dashed] = _INK
        return np.asarray(shown)

    def _status_row(self, time_s: float, value: float, anomalous: bool | None, label: int | None) -> np.ndarray:
        row = Image.new("RGB", (self.width, self._status), GROUND)
        pen = ImageDraw.Draw(row)
        pen.fontmode = "L"
        font = _font(self._letters)
        middle, room = self._status // 2, self._letters // 2
        score = "not scored" if math.isnan(value) else f"score {value:.4g}"
        right = self.width - room
        limit = "" if self._threshold is None else f"threshold {self._threshold:.4g}"
        for text, color in ((limit, _MUTED), (score, _INK)):
            if text:
                pen.text((right, middle), text, color, font, anchor="rm")
                right -= math.ceil(font.getlength(text)) + 2 * room
        left = room
        marks: list[tuple[str, _Color, _Color | None]] = [(clock_tenths(time_s), _INK, None)]
        if anomalous is not None:
            marks.append(("ANOMALOUS", (255, 255, 255), ALARM) if anomalous else ("normal", _MUTED, None))
        if label is not None:
            marks.append(("labeled anomalous", _LABELED, None) if label else ("labeled normal", _MUTED, None))
        for text, color, ground in marks:
            wide = math.ceil(font.getlength(text))
            if left + wide > right:
                break
            if ground is not None:
                box = (
                    left - room // 2,
                    middle - self._letters * 0.75,
                    left + wide + room // 2,
                    middle + self._letters * 0.75,
                )
                pen.rounded_rectangle(box, self._letters // 4, fill=ground)
            pen.text((left, middle), text, color, font, anchor="lm")
            left += wide + 2 * room
        return np.asarray(row)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is there on every machine."""
    return ImageFont.load_default(size)
