import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.check import Answer, check_units
from offnormal.evaluation.alarms import report_alarms
from offnormal.evaluation.evaluate import guarantee_held
from offnormal.events.machine import EventRules
from offnormal.types import Rate, Unit
from tests.evaluations import Scored, table_of

RULES = EventRules(min_duration_s=1.0, merge_gap_s=1.0)


def calibration(unit, times_s=None):
    """Scores 1 to 199 in no order, at 1 %: the threshold is the second highest, 198."""
    scores, per = np.random.default_rng(0).permutation(np.arange(1.0, 200.0)), unit.value
    return calibrate_scores(
        scores, None, rate=Rate(0.01, per), kind="held_out", bundle="b", things=f"{per}s", times_s=times_s
    )


@pytest.mark.parametrize("unit", [Unit.IMAGE, Unit.CLIP])
def test_normals_above_the_threshold_are_counted_not_those_at_it(unit):
    normals = [198.5] * 3 + [198.0] * 5 + [1.0] * 52
    items = [Scored(name=str(i), scores=[score], labels=[0]) for i, score in enumerate(normals)]
    items += [Scored(name=f"a{i}", scores=[199.0], labels=[1]) for i in range(9)]  # anomalies say nothing
    items += [Scored(name=f"u{i}", scores=[199.0]) for i in range(9)]  # nor does what has no label
    check = guarantee_held(table_of(unit, items), [], calibration(unit), None)
    assert check.answer is Answer.HELD
    assert check.p_value == pytest.approx(0.039837, rel=1e-3)  # of 3 of 60, as in tests/calibration/test_check.py


def test_without_normals_there_is_no_answer():
    items = [Scored(name="a", scores=[199.0], labels=[1])]
    assert guarantee_held(table_of(Unit.IMAGE, items), [], calibration(Unit.IMAGE), None) is None
    assert guarantee_held(table_of(Unit.IMAGE, items), [], None, None) is None


def frames(times_above, anomalous=()):
    """600 s of frames, one a second."""
    scores, labels = np.ones(600), np.zeros(600)
    scores[list(times_above)] = 199.0
    labels[list(anomalous)] = 1
    table = table_of(Unit.FRAME, [Scored(name="yard", scores=scores, labels=labels, fps=1.0)])
    return table, table.series()


def test_frames_of_one_stretch_count_once_and_anomalous_ones_not_at_all():
    known = calibration(Unit.FRAME, times_s=np.arange(199) * 10.0)
    table, series = frames([*range(100, 105), *range(300, 303), *range(500, 520)], anomalous=range(490, 530))
    alarms = report_alarms(series, known.threshold, RULES)
    check = guarantee_held(table, series, known, alarms)
    # 560 normal seconds are 56 stretches of 10 s, as each of the 199 scores stands for
    assert check == check_units(2, 56, rank=known.rank, normals=199, rate=known.rank / 200)


def test_a_share_of_images_or_of_frames_without_times_says_nothing_about_frames():
    table, series = frames([100])
    alarms = report_alarms(series, 198.0, RULES)
    assert guarantee_held(table, series, calibration(Unit.IMAGE), alarms) is None
    assert guarantee_held(table, series, calibration(Unit.FRAME), alarms) is None
    known = calibration(Unit.FRAME, times_s=np.arange(199) * 10.0)
    assert guarantee_held(table, series, known, None) is None
