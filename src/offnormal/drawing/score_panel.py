"""The panel below the image of an annotated video: time, verdict, score, and a chart of recent scores."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from offnormal.drawing.wording import clock_tenths
from offnormal.errors import score_text

GROUND = (18, 22, 29)  # colors of the dark report page
ALARM = (235, 62, 40)
_INK, _MUTED, _NORMAL, _ABOVE = (232, 235, 240), (152, 162, 179), (82, 130, 180), (240, 132, 90)
_LABEL_COLOR = (64, 224, 208)  # like masks in the report
_WINDOW_S = 30.0  # time span of the chart
_MIN_HOLD_S = 1.0  # a score is drawn until the next one, but not across a gap in the recording
_MARGIN = 0.1  # free space below and above the scores, as a share of their range
_MIN_FONT_SIZE, _WIDTH_PER_PIXEL = 14, 60  # font size in pixels, at least; panel width per pixel of font size


_Color = tuple[int, int, int]


class ScorePanel:
    """A panel that is redrawn for each frame and stores the scores of the last 30 seconds."""

    def __init__(
        self, width: int, fps: float, threshold: float | None, score_range: tuple[float, float] | None
    ) -> None:
        self.width = width
        self._font_size = max(_MIN_FONT_SIZE, width // _WIDTH_PER_PIXEL)
        self._status, self._chart, self._lane = 2 * self._font_size, 3 * self._font_size, max(3, self._font_size // 4)
        self.height = self._status + self._chart + self._lane + self._font_size // 2
        self._threshold = threshold
        self._fixed_range = score_range
        initial_score = threshold if threshold is not None else math.nan
        self._observed_range = initial_score, initial_score
        self._max_hold_s = max(_MIN_HOLD_S, 3 / fps)
        self._scores = np.full(width, np.nan)  # one per pixel column, the newest last
        self._labels = np.zeros(width, np.bool_)
        self._last: tuple[float, float, bool] | None = None  # time, score, and label of the previous frame

    def draw(
        self, time_s: float, score: float | None, anomalous: bool | None = None, label: int | None = None
    ) -> np.ndarray:
        """Draw the panel (height, width, 3) uint8 after one more frame; score None or NaN: not scored."""
        value = math.nan if score is None else float(score)
        self._advance(time_s, value, label == 1)
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        canvas[:] = GROUND
        canvas[: self._status] = self._draw_status(time_s, value, anomalous, label)
        top = self._status
        canvas[top : top + self._chart] = self._draw_chart()
        lane = canvas[top + self._chart + 1 : top + self._chart + 1 + self._lane]
        lane[:, self._labels] = _LABEL_COLOR
        return canvas

    def _advance(self, time_s: float, value: float, is_labeled: bool) -> None:
        """Shift the columns by the elapsed time; the previous score lasts until this one."""
        per_s = self.width / _WINDOW_S
        if self._last is not None:
            previous_s, previous, was_labeled = self._last
            columns = min(max(int(time_s * per_s) - int(previous_s * per_s), 0), self.width)
            is_held = time_s - previous_s <= self._max_hold_s
            fill_score, fill_label = previous if is_held else math.nan, was_labeled and is_held
            for store, fill in ((self._scores, fill_score), (self._labels, fill_label)):
                if columns:
                    store[:-columns] = store[columns:].copy()
                    store[-columns:] = fill
            if not columns:  # several frames in one column: show the highest
                value, is_labeled = float(np.fmax(value, self._scores[-1])), is_labeled or bool(self._labels[-1])
        self._scores[-1], self._labels[-1] = value, is_labeled
        self._last = time_s, value, is_labeled
        low, high = self._observed_range
        self._observed_range = float(np.fmin(low, value)), float(np.fmax(high, value))

    def _draw_chart(self) -> np.ndarray:
        """Draw the scores of the window as filled columns (chart height, width, 3), the threshold as a dashed line."""
        low, high = self._fixed_range or self._observed_range
        span = high - low if high > low else 1.0
        if self._fixed_range is None:
            low, high, span = low - _MARGIN * span, high + _MARGIN * span, (1 + 2 * _MARGIN) * span
        rows = self._chart - 1
        is_scored = np.isfinite(self._scores)
        height = np.where(is_scored, np.clip((np.where(is_scored, self._scores, low) - low) / span, 0, 1) * rows, -1)
        kind = np.ones(self.width, np.uint8)
        if self._threshold is not None:
            kind += self._scores > self._threshold
        filled = np.arange(rows, -1, -1)[:, None] <= np.round(height).astype(np.int64)
        chart = np.array([(30, 36, 46), _NORMAL, _ABOVE], np.uint8)[filled * kind]
        if self._threshold is not None and low <= self._threshold <= high:
            row = rows - round((self._threshold - low) / span * rows)
            dashed = np.arange(self.width) % self._font_size < self._font_size * 0.6
            chart[max(0, row - self._font_size // 16) : row + 1, dashed] = _INK
        return np.asarray(chart)

    def _draw_status(self, time_s: float, value: float, anomalous: bool | None, label: int | None) -> np.ndarray:
        row = Image.new("RGB", (self.width, self._status), GROUND)
        draw = ImageDraw.Draw(row)
        draw.fontmode = "L"
        font = _font(self._font_size)
        middle, padding = self._status // 2, self._font_size // 2
        score = "not scored" if math.isnan(value) else f"score {score_text(value)}"
        right = self.width - padding
        threshold_text = "" if self._threshold is None else f"threshold {score_text(self._threshold)}"
        for text, color in ((threshold_text, _MUTED), (score, _INK)):
            if text:
                draw.text((right, middle), text, color, font, anchor="rm")
                right -= math.ceil(font.getlength(text)) + 2 * padding
        left = padding
        marks: list[tuple[str, _Color, _Color | None]] = [(clock_tenths(time_s), _INK, None)]
        if anomalous is not None:
            marks.append(("ANOMALOUS", (255, 255, 255), ALARM) if anomalous else ("normal", _MUTED, None))
        if label is not None:
            marks.append(("labeled anomalous", _LABEL_COLOR, None) if label else ("labeled normal", _MUTED, None))
        for text, color, ground in marks:
            text_width = math.ceil(font.getlength(text))
            if left + text_width > right:
                break
            if ground is not None:
                box = (
                    left - padding // 2,
                    middle - self._font_size * 0.75,
                    left + text_width + padding // 2,
                    middle + self._font_size * 0.75,
                )
                draw.rounded_rectangle(box, self._font_size // 4, fill=ground)
            draw.text((left, middle), text, color, font, anchor="lm")
            left += text_width + 2 * padding
        return np.asarray(row)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load Pillow's built-in font, which every machine has."""
    return ImageFont.load_default(size)
