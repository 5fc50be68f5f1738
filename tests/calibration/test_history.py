"""Which calibration applies, how to get back to an earlier one, and what a newer one makes worse."""

from dataclasses import replace

import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.history import History, side_by_side, worse
from offnormal.errors import CalibrationError, score_text
from offnormal.types import Rate


def calibration(n=200, rate=0.05, *, groups=(), kind="held_out", seed=0):
    scores = np.random.default_rng(seed).normal(size=n)
    return calibrate_scores(scores, None, rate=Rate(rate), kind=kind, bundle="b0", groups=groups)


def history(*calibrations, source="more"):
    result = History()
    for number, each in enumerate(calibrations):
        result = result.add(each, source="fit" if number == 0 else source, fingerprint=f"f{number}")
    return result


def entries(first, second, sources=("more", "more")):
    result = History()
    for each, source in zip((first, second), sources, strict=True):
        result = result.add(each, source=source, fingerprint=f"of {source}")
    return result.entries


def test_undo_goes_back_step_by_step_and_use_to_any():
    three = history(*(calibration(seed=seed) for seed in range(3)))
    assert [entry.number for entry in three.entries] == [1, 2, 3] and three.earlier == (1, 2)
    assert three.current == 3 and three.undo().current == 2 and three.undo().undo().current == 1
    with pytest.raises(CalibrationError, match="none applied before 1; --use 2 or --use 3 returns to another"):
        three.undo().undo().undo()
    assert three.undo().undo().use(3).current == 3 and three.use(3) == three
    with pytest.raises(CalibrationError, match="no calibration 4 in this bundle; expected one of 1, 2, 3"):
        three.use(4)
    with pytest.raises(CalibrationError, match="the bundle is not calibrated"):
        History().undo()


def test_undo_also_undoes_the_choice_of_an_earlier_one():
    three = history(*(calibration(seed=seed) for seed in range(3)))
    assert three.use(1).undo() == three and three.use(1).use(2).undo().undo() == three
    assert three.undo().use(3).undo() == three.undo()
    assert three.use(1).earlier == (1, 2, 3)


def test_after_an_undo_a_new_calibration_goes_back_to_what_it_replaced():
    again = (
        history(calibration(seed=0), calibration(seed=1)).undo().add(calibration(seed=2), source="x", fingerprint="")
    )
    assert [entry.number for entry in again.entries] == [1, 2, 3] and again.current == 3
    assert again.undo().current == 1, "2 was undone before"


def test_json_restores_it_and_damage_is_refused():
    two = history(calibration(), calibration(seed=1))
    stored = two.to_json()
    assert History.from_json(stored) == two and two.earlier == (1,)
    assert History.from_json({name: stored[name] for name in ("entries", "current")}) == replace(two, earlier=())
    for damaged in (
        {}, [], {**stored, "current": 7}, {**stored, "earlier": [7]}, {**stored, "more": 1},
        {"entries": [{}], "current": None},
        {**stored, "entries": [{**stored["entries"][0], "threshold": "x"}]},
    ):  # fmt: skip
        with pytest.raises(CalibrationError):
            History.from_json(damaged)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (calibration(n=100), "fewer normal scores: 100, before 200"),
        (calibration(rate=0.1), "a higher rate: 10 % of normal images, before 5 % of normal images"),
        (replace(calibration(), rate=Rate(2, "hour")), "another kind of rate: 2 per hour, before 5 %"),
        (replace(calibration(), interval=(0.0, 0.5)), "a wider confidence interval: 0-50 %, before"),
    ],
)
def test_a_guarantee_that_gets_worse_has_a_reason(second, reason):
    (text,) = worse(*entries(calibration(), second))
    assert text.startswith(reason)


def test_other_or_fewer_groups_of_data_are_worse():
    lots = [f"lot {number % 5}" for number in range(200)]
    before, now = entries(calibration(groups=lots), calibration(groups=lots, seed=1))
    assert worse(before, replace(now, groups=1)) == ["fewer groups of data: 1, before 5"]
    before, now = entries(calibration(), calibration(), ("monday", "tuesday"))
    assert worse(before, now) == ["other data: tuesday, before monday"]
    assert worse(before, replace(now, source="monday")) == ["other data: monday, has changed"]
    assert worse(before, replace(now, fingerprint="of monday")) == [], "the folder was renamed"
    masked, now = replace(before, has_mask=True), replace(now, fingerprint=before.fingerprint)
    assert worse(masked, now) == ["no privacy mask, before with one"]


def test_a_better_guarantee_needs_no_warning():
    assert worse(*entries(calibration(n=100, rate=0.1, kind="leave_one_out"), calibration(n=400, rate=0.05))) == []


def test_a_report_lists_the_calibrations_of_a_bundle_that_has_several():
    two = history(calibration(), calibration(n=400))
    facts = two.undo().facts()
    assert list(facts) == ["calibration 1 (current)", "calibration 2"]
    assert (
        facts["calibration 2"].endswith(two.entries[1].guarantee) and "from more: threshold" in facts["calibration 2"]
    )
    assert history(calibration()).facts() == {}


def test_two_calibrations_side_by_side():
    before, now = entries(calibration(), calibration(n=400, rate=0.01))
    rows = {name: cells for name, *cells in side_by_side(before, now)}
    assert rows["calibration"] == ["1", "2"] and rows["false-alarm rate"] == ["5 %", "1 %"]
    assert rows["normal scores"] == ["200", "400"] and rows["source"] == ["more", "more"]
    assert rows["threshold"] == [score_text(before.threshold), score_text(now.threshold)]
    assert {cells[1] for cells in side_by_side(None, now)} == {"-"}
