import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.check import Answer, check_units
from offnormal.evaluation.alarms import report_alarms
from offnormal.evaluation.evaluate import check_on_test_set
from offnormal.events.machine import EventRules
from offnormal.types import Rate, Unit
from tests.evaluations import Scored, table_of

RULES = EventRules(min_duration_s=1.0, merge_gap_s=1.0)


def calibration(unit, times_s=None):
    """Shuffled scores 1 to 199 at 1 %: the threshold is the second highest, 198."""
    scores, per = np.random.default_rng(0).permutation(np.arange(1.0, 200.0)), unit.value
    return calibrate_scores(
        scores, None, rate=Rate(0.01, per), kind="held_out", bundle="b", units=f"{per}s", times_s=times_s
    )


@pytest.mark.parametrize("unit", [Unit.IMAGE, Unit.CLIP])
def test_normal_units_above_the_threshold_are_counted(unit):
    normals = [198.5] * 3 + [198.0] * 5 + [1.0] * 52
    items = [Scored(name=str(i), scores=[score], labels=[0]) for i, score in enumerate(normals)]
    items += [Scored(name=f"a{i}", scores=[199.0], labels=[1]) for i in range(9)]  # anomalous units do not count
    items += [Scored(name=f"u{i}", scores=[199.0]) for i in range(9)]  # nor do units without a label
    check = check_on_test_set(table_of(unit, items), [], calibration(unit), None)
    assert check.answer is Answer.HELD
    assert check.p_value == pytest.approx(0.039837, rel=1e-3)  # 3 of 60, as in tests/calibration/test_check.py


def test_without_normal_units_there_is_no_answer():
    items = [Scored(name="a", scores=[199.0], labels=[1])]
    assert check_on_test_set(table_of(Unit.IMAGE, items), [], calibration(Unit.IMAGE), None) is None
    assert check_on_test_set(table_of(Unit.IMAGE, items), [], None, None) is None


def frames(times_above, anomalous=()):
    """600 s of frames at 1 fps."""
    scores, labels = np.ones(600), np.zeros(600)
    scores[list(times_above)] = 199.0
    labels[list(anomalous)] = 1
    table = table_of(Unit.FRAME, [Scored(name="yard", scores=scores, labels=labels, fps=1.0)])
    return table, table.series()


def test_a_run_of_normal_frames_counts_once_and_anomalous_frames_do_not_count():
    timed = calibration(Unit.FRAME, times_s=np.arange(199) * 10.0)
    table, series = frames([*range(100, 105), *range(300, 303), *range(500, 520)], anomalous=range(490, 530))
    alarms = report_alarms(series, timed.threshold, RULES)
    check = check_on_test_set(table, series, timed, alarms)
    # 560 normal seconds are 56 stretches of 10 s, the spacing of the 199 scores
    assert check == check_units(2, 56, rank=timed.rank, normals=199, rate=timed.rank / 200)


def test_a_share_of_images_or_of_frames_without_times_is_not_checked_on_frames():
    table, series = frames([100])
    alarms = report_alarms(series, 198.0, RULES)
    assert check_on_test_set(table, series, calibration(Unit.IMAGE), alarms) is None
    assert check_on_test_set(table, series, calibration(Unit.FRAME), alarms) is None
    timed = calibration(Unit.FRAME, times_s=np.arange(199) * 10.0)
    assert check_on_test_set(table, series, timed, None) is None
