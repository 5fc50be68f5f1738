"""What is drawn of a video while it is scored: the annotated MP4, and the highest frame of each alarm as a picture."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from offnormal.calibration.calibration import Calibration
from offnormal.data.geometry import place, restore_size
from offnormal.files import new_file
from offnormal.report.overlay import overlay, scale_for
from offnormal.scoring import ScoredFrame
from offnormal.sinks.annotate import AnnotatedVideo
from offnormal.types import InputSpec
from offnormal.verbs.alarm_peaks import AlarmPeaks


class VideoPictures:
    """Takes the scored frames of one video in order; a context manager, whose files vanish when it ends badly.

    annotate: MP4 to write; overlays: folder for `<name>-<frame>.png`; None: not wanted. fps: of the frames given.
    threshold: of the score; without one there are no alarms, and the highest frame of the video is the one drawn.
    Without a calibration the colours of maps reach from the median to the 99.9th percentile of the first maps.
    thinned: the frames are some seconds apart on purpose. hold: a held score counts for alarms, too.
    Attribute: `drawn`, frame -> picture of it.
    """

    def __init__(
        self,
        *,
        spec: InputSpec,
        calibration: Calibration | None,
        threshold: float | None,
        merge_gap_s: float,
        fps: float,
        name: str,
        annotate: Path | None,
        overlays: Path | None,
        thinned: bool = False,
        hold: bool = False,
    ) -> None:
        self.drawn: dict[int, Path] = {}
        self._spec, self._calibration, self._threshold = spec, calibration, threshold
        self._pixel_threshold = None if calibration is None else calibration.pixel_threshold
        self._fps, self._name, self._thinned, self._hold = fps, name, thinned, hold
        self._annotate, self._overlays = annotate, overlays
        self._peaks = AlarmPeaks(threshold, merge_gap_s) if threshold is not None else AlarmPeaks(-np.inf, np.inf)
        self._stack = ExitStack()
        self._video: AnnotatedVideo | None = None
        self._range: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._draw(self._peaks.end())

    def scale(self, maps: np.ndarray | None) -> None:
        """Fix the colours, of which the first maps (N, h, w) are told; later ones change nothing."""
        if self._range is None and maps is not None:
            self._range = scale_for(self._calibration, [maps])

    def add(self, found: ScoredFrame) -> None:
        """Take one more frame; of a thinned video those with a score alone."""
        if self._thinned and np.isnan(found.score):
            return
        if self._annotate is not None:
            self._write(self._annotate, found)
        if found.held and not self._hold:  # it shows the score before, but has none
            found = replace(found, score=math.nan)
        time_s = found.frame.time_s if found.frame.time_s is not None else found.frame.index / self._fps
        self._draw(self._peaks.push(found, time_s, thinned=self._thinned))

    def _write(self, path: Path, found: ScoredFrame) -> None:
        height, width = found.frame.image.shape[:2]
        if self._video is None:
            video = AnnotatedVideo(
                path,
                self._fps,
                (height, width),
                threshold=self._threshold,
                score_range=self._score_range(),
                pixel_threshold=self._pixel_threshold,
                map_range=self._range,
            )
            self._video = self._stack.enter_context(video)
        shown = None
        if found.map is not None:  # as coarse as it is: the video's frames are brought to one size anyway
            shown = restore_size(found.map, place((height, width), self._spec).scaled, self._spec)
        scored = self._threshold is not None and not np.isnan(found.score)
        verdict = found.score > self._threshold if scored and self._threshold is not None else None
        self._video.add(found.frame.image, found.score, shown, verdict, time_s=found.frame.time_s)

    def _score_range(self) -> tuple[float, float] | None:
        """Ends of the chart, with the threshold in the middle, so that its height means the same at every moment."""
        found = self._calibration
        if found is None or found.by_hand or not found.scores[0] < found.threshold:
            return None
        return found.scores[0], 2 * found.threshold - found.scores[0]

    def _draw(self, found: ScoredFrame | None) -> None:
        if found is None or self._overlays is None:
            return
        image, path = found.frame.image, self._overlays / f"{self._name}-{found.frame.index:06}.png"
        picture = Image.fromarray(image)
        if found.map is not None and self._range is not None:
            full = restore_size(found.map, (image.shape[0], image.shape[1]), self._spec)
            low, high = self._range
            picture = overlay(image, full, threshold=self._pixel_threshold, low=low, high=high)
        with new_file(path) as partial:
            picture.save(partial)
        self.drawn[found.frame.index] = path
