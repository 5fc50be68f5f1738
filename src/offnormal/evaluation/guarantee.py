"""Did the expected false-alarm rate hold on the normal units of a test? See `calibration.check` for the statistics."""

from __future__ import annotations

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.calibration.check import GuaranteeCheck, check_guarantee
from offnormal.calibration.guarantee import count_events
from offnormal.evaluation.alarms import AlarmReport
from offnormal.evaluation.table import ScoreTable
from offnormal.metrics.video import FrameScores
from offnormal.types import NORMAL, Unit


def guarantee_held(
    table: ScoreTable, series: list[FrameScores], calibration: Calibration | None, alarms: AlarmReport | None
) -> GuaranteeCheck | None:
    """The one answer for every unit; None without a calibration, a guarantee, or any labeled normal unit.

    series: the videos of the table. Frames resemble their neighbors, so that exceedances close together count as one.
    """
    if calibration is None:
        return None
    if table.unit is not Unit.FRAME:
        normal = table.score[table.labeled & (table.label == NORMAL)]
        above = int((normal > calibration.threshold).sum())
        return check_guarantee(calibration, above, normal.size) if normal.size else None
    if calibration.rate.per in ("image", "clip") or alarms is None or not alarms.normal_s:
        return None  # a share of single images says nothing about frames, which resemble their neighbors
    if not calibration.rate.is_share:
        return check_guarantee(calibration, alarms.false_alarms, alarms.normal_s)
    if calibration.block_s is None:
        return None
    above = sum(_exceedances(video, calibration.threshold, calibration.block_s) for video in series)
    return check_guarantee(calibration, above, alarms.normal_s)


def _exceedances(video: FrameScores, threshold: float, gap_s: float) -> int:
    """Runs of normal frames above the threshold, those up to `gap_s` apart counted as one."""
    if video.labels is None:
        return 0
    return count_events(video.clock.times_s[np.flatnonzero(~video.labels & (video.scores > threshold))], gap_s)
