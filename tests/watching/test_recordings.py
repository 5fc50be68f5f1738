"""Dry runs and alarm budgets: the same result as the event machine on the scores of predict."""

import numpy as np
import pytest

from offnormal.data.video_loader import VideoLoader
from offnormal.errors import CalibrationError, ConfigError, UsageError
from offnormal.events.machine import EventMachine
from offnormal.scoring import score_items
from offnormal.types import Unit
from offnormal.verbs.watch import Watch
from offnormal.watching.config import WatchConfig
from tests.footage import FPS, film
from tests.items import video
from tests.video_files import write_video
from tests.watching.yard import ODD, QUICK_RULES


def watch(yard, out, source="odd.mp4", **options):
    values = {"bundle": yard / "bundle", "out": out, "rules": QUICK_RULES, "threads": 1, **options}
    return Watch(WatchConfig.model_validate({**values, "cameras": [{"source": str(yard / source)}]}))


def test_a_dry_run_raises_the_events_of_the_machine(yard, tmp_path):
    it = watch(yard, tmp_path)
    (run,) = it.dry_runs()
    setup = it.setups[0]
    loader = VideoLoader([video(yard / "odd.mp4", name="odd")], setup.bundle.input, batch_size=4)
    (scored,) = score_items(it._scorer(setup), loader, unit=Unit.FRAME)
    machine = EventMachine(setup.rules, run.thresholds.threshold, run.thresholds.low)
    times = np.arange(len(scored.score)) / FPS
    occurrences = [
        occurrence for occurrence in [*machine.push_all(times, scored.score), *machine.finish()] if occurrence.is_over
    ]
    assert [(event.position_s, event.peak_score) for event in run.events] == [
        (occurrence.start_s, occurrence.peak) for occurrence in occurrences
    ]
    (event,) = run.events
    assert event.position_s == pytest.approx(ODD[0] / FPS) and event.duration_s == pytest.approx(2.0, abs=0.3)
    assert (event.severity, run.frames, run.scored, run.alarms) == ("high", 80, 80, 1)
    assert not list(tmp_path.iterdir()), "nothing is recorded or sent"


def test_an_hour_that_the_clock_jumps_is_no_footage(yard, tmp_path):
    times = [i / FPS + 3600 * (i >= 20) for i in range(40)]
    path = write_video(tmp_path / "jump.mkv", film(3, frames=40), times=times)
    (run,) = watch(yard, tmp_path, source=path).dry_runs()
    assert run.frames == 40 and run.seconds == pytest.approx(4.0, abs=2e-3)


def test_no_event_is_raised_outside_the_schedule(yard, tmp_path):
    with pytest.raises(UsageError, match="--start-time"):
        watch(yard, tmp_path, schedule="mon 10:00-12:00")
    start_time = "2026-11-23T10:30+00:00"  # a Monday
    (inside,) = watch(yard, tmp_path, schedule="mon 10:00-12:00", start_time=start_time).dry_runs()
    (outside,) = watch(yard, tmp_path, schedule="tue", start_time=start_time).dry_runs()
    assert [f"{event.start:%a %H:%M}" for event in inside.events] == ["Mon 10:30"]
    assert outside.events == [] and outside.suppressed_frames == pytest.approx(ODD[1] - ODD[0], abs=2)


def test_only_zones_are_scored_and_they_need_another_threshold(yard, tmp_path):
    right, left = "0.5,0 1,0 1,1 0.5,1", "0,0 0.5,0 0.5,1 0,1"  # the square is on the left
    with pytest.raises(CalibrationError, match="other masks and zones"):
        list(watch(yard, tmp_path, zones=[right]).dry_runs())
    budget = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    (nothing,) = watch(yard, tmp_path / "r", zones=[right], **budget).dry_runs()
    (inside_zone,) = watch(yard, tmp_path / "l", zones=[left], **budget).dry_runs()
    assert (nothing.alarms, inside_zone.alarms) == (0, 1)
    assert inside_zone.events[0].setup_hash is not None
    with pytest.raises(ConfigError, match="include no pixel"):
        watch(yard, tmp_path, zones=["exclude:0,0 1,0 1,1 0,1"])


def test_a_sink_never_writes_to_an_input_or_to_another_sink(yard, tmp_path):
    before = (yard / "odd.mp4").read_bytes()
    with pytest.raises(UsageError, match=r"sink jsonl .*odd\.mp4.* would overwrite the input"):
        watch(yard, tmp_path, sinks=[f"jsonl:{yard / 'odd.mp4'}"])
    with pytest.raises(UsageError, match=r"sink csv .* is the same file as sink jsonl"):
        watch(yard, tmp_path, sinks=[f"jsonl:{tmp_path / 'e'}", f"csv:{tmp_path / 'e'}"])
    assert (yard / "odd.mp4").read_bytes() == before and not list(tmp_path.iterdir())
