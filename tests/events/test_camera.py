import dataclasses
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.errors import DataError
from offnormal.events.camera import CameraEvents
from offnormal.events.event import EventContext, camera_event, event_from_json, event_id, event_to_json
from offnormal.events.machine import EventRules
from offnormal.events.schedule import Schedule
from offnormal.types import Rate

T0 = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
NORMALS = calibrate_scores(np.arange(1, 1001) / 1000, None, rate=Rate(0.01), kind="held_out", bundle="b1")
RULES = EventRules(min_duration_s=1, merge_gap_s=2)
CONTEXT = EventContext(
    camera="porch",
    source="rtsp://***@10.0.0.5/1",
    threshold=NORMALS.threshold,
    low_threshold=0.9,
    bundle="b1",
    calibration=NORMALS.id,
    setup_hash="z1",
    recording_s=T0 - 60,
)


def camera(**options):
    return CameraEvents(
        options.pop("context", CONTEXT), options.pop("rules", RULES), **{"calibration": NORMALS, **options}
    )


def pushed(events, scores, start_s=T0, step_s=0.5):
    return [event for i, score in enumerate(scores) for event in events.push(start_s + i * step_s, score)]


def test_an_event_contains_all_facts():
    events = camera()
    opened, closed = pushed(events, [0.1, 1.2, 1.4, 1.3, 0.95, 0.2, *[0.1] * 6])
    assert (opened.state, closed.state, opened.id) == ("open", "closed", closed.id)
    assert closed.start == datetime(2026, 11, 21, 12, 0, 0, 500_000, UTC) and closed.duration_s == 2
    assert closed.id.startswith("20261121T120000.500Z-") and closed.position_s == 60.5
    assert (closed.peak_score, closed.peak) == (1.4, datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC))
    assert closed.p_value == pytest.approx(NORMALS.verdict(1.4).p_value)
    assert closed.scores == ((0, 1.2), (0.5, 1.4), (1, 1.3), (1.5, 0.95))
    assert (closed.threshold, closed.low_threshold, closed.rules) == (NORMALS.threshold, 0.9, RULES.model_dump())
    assert (closed.bundle, closed.calibration, closed.setup_hash) == ("b1", NORMALS.id, "z1")
    assert closed.software.startswith("offnormal ")


def test_events_survive_json():
    for event in [
        *pushed(camera(), [1.2] * 4),
        camera_event("porch", "frozen", T0, T0 + 9, is_over=True, detail="still"),
    ]:
        stored = json.loads(json.dumps(event_to_json(event), allow_nan=False))
        assert event_from_json(stored) == event and stored["format_version"] == 3
        assert stored["start"] == "2026-11-21T12:00:00.000Z"
        with pytest.raises(DataError, match="event in format 9, this version reads 3"):
            event_from_json({**stored, "format_version": 9})
        with pytest.raises(DataError, match=r"missing or unknown keys.*camera"):
            event_from_json({key: value for key, value in stored.items() if key != "camera"})


def test_every_field_of_an_event_is_in_its_json():
    event = pushed(camera(), [1.2] * 4)[0]
    assert {field.name for field in dataclasses.fields(event)} < set(event_to_json(event))


@pytest.mark.parametrize(("peak", "severity"), [(1.0, "low"), (1.15, "medium"), (9.0, "high")])
def test_severity_compares_the_peak_with_the_threshold(peak, severity):
    assert pushed(camera(), [1.0, peak, 1.0])[0].severity == severity
    assert pushed(camera(calibration=None), [1.0, peak, 1.0])[0].severity is None


def test_ids_differ_by_camera_kind_and_time():
    ids = {event_id(*arguments) for arguments in [("a", "x", 1.0), ("b", "x", 1.0), ("a", "y", 1.0), ("a", "x", 1.001)]}
    assert len(ids) == 4 and event_id("a", "x", 1.0) in ids


def test_nothing_is_raised_outside_the_schedule():
    night = Schedule(windows=["12:00-12:01"])
    events = camera(schedule=night)
    occurrences = pushed(events, [1.2] * 140)  # 70 seconds
    assert [event.state for event in occurrences] == ["open", "closed"]
    assert occurrences[1].end == datetime(2026, 11, 21, 12, 1, tzinfo=UTC)
    assert events.suppressed_scores == 20


def test_nothing_is_raised_while_suppressed():
    events = camera()
    events.suppress(T0 + 10)
    events.suppress(T0 + 5)
    (opened,) = pushed(events, [1.2] * 30)
    assert opened.start.timestamp() == T0 + 10 and events.suppressed_scores == 20


def test_an_open_event_continues_after_a_restart():
    events = camera()
    pushed(events, [1.2] * 4)
    saved = json.loads(json.dumps(events.state(), allow_nan=False))
    restarted = camera()
    assert restarted.restore(saved) == [] and restarted.is_open
    (closed,) = pushed(restarted, [0.1] * 6, start_s=T0 + 2)
    (expected,) = pushed(events, [0.1] * 6, start_s=T0 + 2)
    assert closed == expected


def test_suppression_ends_with_the_program():
    events = camera()
    pushed(events, [0.1] * 2)
    events.suppress(T0 + 3600)
    restarted = camera()
    assert restarted.restore(events.state()) == []
    assert [event.state for event in pushed(restarted, [1.2] * 4, start_s=T0 + 2)] == ["open"]


def test_after_a_restart_with_another_threshold_the_open_event_is_closed_by_the_old_one():
    events = camera()
    pushed(events, [1.2] * 4)
    restarted = camera(context=dataclasses.replace(CONTEXT, threshold=2.0, bundle="b2"))
    (closed,) = restarted.restore(events.state())
    assert (closed.state, closed.bundle, closed.threshold) == ("closed", "b1", NORMALS.threshold)
    assert not restarted.is_open and restarted.context.threshold == 2.0


@pytest.mark.parametrize("broken", [{}, {"format_version": 2, "context": {}}, {"format_version": 1}])
def test_damaged_states_are_refused(broken):
    with pytest.raises(DataError, match=r"damaged state of camera porch|state in format 1"):
        camera().restore(broken)


def test_the_end_of_a_recording_closes_an_open_event():
    events = camera()
    pushed(events, [1.2] * 4)
    assert [event.state for event in events.finish()] == ["closed"] and events.finish() == []
    pushed(events, [1.2] * 4, start_s=T0 + 60)
    assert [event.state for event in events.tick(T0 + 66)] == ["closed"]


def test_a_restart_of_the_clock_ends_an_event():
    events = camera()
    assert [event.state for event in pushed(events, [1.2] * 4)] == ["open"]
    (closed,) = events.restart()
    assert (closed.state, closed.duration_s) == ("closed", 1.5)
    assert pushed(events, [1.2] * 2, start_s=T0 + 2) == [], "the minimum duration starts again"
    assert [event.state for event in pushed(events, [1.2] * 2, start_s=T0 + 3)] == ["open"]
