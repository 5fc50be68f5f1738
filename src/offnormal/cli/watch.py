"""offnormal watch BUNDLE SOURCE..., or --config cameras.yaml."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build, input_files
from offnormal.config.model import set_values
from offnormal.errors import UsageError, duration_text, score_text
from offnormal.watching.config import WatchConfig, camera_name

log = logging.getLogger(__name__)
_POLL_S = 0.1
_EXIT_S = 4.3  # from the signal to the end of the program at the latest

if TYPE_CHECKING:
    from types import FrameType

    from offnormal.types import Event
    from offnormal.verbs.watch import CameraCheck, Watch
    from offnormal.watching.pipeline import WatchPipeline
    from offnormal.watching.recordings import DryRun


@takes_flags(WatchConfig, without=("bundle", "cameras"))
def command(
    bundle: Path | None = None,
    /,
    *sources: str,
    options: BaseModel | None = None,
    config: Path | None = None,
    dry_run: bool = False,
    check: bool = False,
    connect: bool = False,
    json: bool = False,
) -> int:
    """Watch cameras or recordings and send an alert for each event, until stopped (Ctrl-C, SIGTERM).

    Parameters
    ----------
    bundle
        Bundle, or run folder.
    sources
        rtsp://, http(s)://, v4l2:/dev/video0, video files, or folders that receive images.
    config
        YAML file with cameras, bundles, zones, schedules, and sinks; flags win.
    dry_run
        Read recordings as fast as possible and print the events; nothing is sent.
    check
        Check the configuration, print it, and exit.
    connect
        With --check: also read one frame from each source.
    json
        Print one JSON object per event, per recording (--dry-run), or per camera (--check).
    """
    from offnormal.cli.show import progress_bar
    from offnormal.verbs.watch import Watch

    if connect and not check:
        raise UsageError("--connect only works with --check")
    flags = set_values(options)
    configuration = build_config(bundle, sources, flags, config, dry_run=dry_run)
    with progress_bar() as progress:
        watch = Watch(configuration, progress, input_files(flags, config))
        if check:
            return _check(watch, connect=connect, json=json)
        if dry_run:
            return _dry_run(watch, json=json)
    return _watch(watch, json=json)


def build_config(
    bundle: Path | None, sources: tuple[str, ...], flags: dict[str, object], file: Path | None, *, dry_run: bool = False
) -> WatchConfig:
    """The configuration from flags and a file."""
    from offnormal.data.resolve import resolve_items

    values = dict(flags)
    if bundle is not None:
        values["bundle"] = bundle
    if sources:
        addresses = []
        for source in sources:
            videos = resolve_items([source], kind="video") if dry_run else []
            addresses += [video.address for video in videos] or [source]
        names = [camera_name(address) for address in addresses]
        unique = [name if names.count(name) == 1 else f"{name[:50]}-{i}" for i, name in enumerate(names, 1)]
        values["cameras"] = [{"source": source, "name": name} for source, name in zip(addresses, unique, strict=True)]
    elif file is None:
        raise UsageError("watch needs a bundle and sources, such as rtsp://camera/1, or --config with cameras")
    return build(WatchConfig, values, file=file)


def _watch(watch: Watch, *, json: bool) -> int:
    from offnormal.cli.show import discard_output, leave, printer, say_json, warn
    from offnormal.events.event import event_to_json

    say = printer(*(sink.path for sink in watch.sinks.values()), json=json)

    def print_event(event: Event) -> None:
        try:
            if json:
                say_json(event_to_json(event))
            else:
                say(format_event(event))
        except BrokenPipeError:
            discard_output()
            log.warning("the program that reads stdout has ended; events are no longer printed")

    done = threading.Event()
    try:
        with watch.running(print_event) as pipeline:

            def stop(_: int, __: FrameType | None) -> None:
                pipeline.stop()
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the program at once

            threading.Thread(target=_leave_in_time, args=(pipeline, done), name="exit", daemon=True).start()
            before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]
            try:
                for camera in pipeline.cameras:
                    warn(f"{camera.name}: {camera.frames.setup.address}; {camera.thresholds.guarantee}")
                if pipeline.metrics_url is not None:
                    warn(f"metrics at {pipeline.metrics_url}")
                pipeline.run()
            finally:
                for number, handler in before:
                    signal.signal(number, handler)
    finally:
        done.set()
    code = 1 if pipeline.failed else 0
    if pipeline.is_stopping or pipeline.hanging:  # the interpreter would wait for threads, and for readers of stdout
        leave(code)
    return code


def _leave_in_time(pipeline: WatchPipeline, done: threading.Event) -> None:
    """End the program a few seconds after the signal, whatever hangs; events are on disk by then."""
    from offnormal.cli.show import leave

    while not pipeline.is_stopping:
        if done.wait(_POLL_S):
            return
    if done.wait(max(0.0, pipeline.stop_s + _EXIT_S - time.monotonic())):
        return
    leave(
        1 if pipeline.failed else 0,
        "exiting without what does not answer; messages that were not sent are sent after a restart",
    )


def _check(watch: Watch, *, connect: bool, json: bool) -> int:
    from offnormal.cli.show import say, say_json

    failed = 0
    for camera in watch.check(connect=connect):
        failed += camera.first_frame.startswith("no frame")
        values = _check_json(camera)
        if json:
            say_json(values)
            continue
        say(f"{values.pop('camera'):<12} {values.pop('source')}")
        for key, value in values.items():
            if value not in (None, "", 0):
                say(f"{'':<12} {key.replace('_', ' '):<11} {value}")
    for sink in watch.sinks.values():
        if not json:
            say(f"{'sink':<12} {sink.description}")
    return 1 if failed else 0


def _check_json(camera: CameraCheck) -> dict[str, object]:
    setup, thresholds = camera.setup, camera.thresholds
    schedule = setup.config.schedule
    return {
        "camera": setup.name,
        "source": str(setup.address),
        "bundle": f"{setup.bundle.detector.name} {setup.bundle.hash}",
        "threshold": None if thresholds is None else round(thresholds.threshold, 6),
        "guarantee": "calibrated from footage at the start" if thresholds is None else thresholds.guarantee,
        "zones": len(setup.config.zones),
        "schedule": None if schedule is None else f"{', '.join(schedule.windows)} ({schedule.timezone})",
        "first_frame": camera.first_frame,
    }


def _dry_run(watch: Watch, *, json: bool) -> int:
    from offnormal.cli.show import say, say_json

    runs = []
    for run in watch.dry_runs():
        runs.append(run)
        if json:
            say_json(_dry_run_json(run))
            continue
        for event in run.events:
            say(format_event(event))
    if not json:
        for text in format_dry_runs(runs):
            say(text)
    return 0


def format_event(event: Event) -> str:
    """One line about an event."""
    if event.position_s is not None:
        from offnormal.drawing.wording import clock_tenths

        start, end = clock_tenths(event.position_s), clock_tenths(event.position_s + event.duration_s)
    else:
        start, end = f"{event.start:%Y-%m-%d %H:%M:%S}", f"{event.end:%H:%M:%S}"
    facts = [event.camera, f"{start}-{end}" if event.state == "closed" else f"{start}-", event.kind.replace("_", " ")]
    if event.peak_score is not None:
        facts.append(f"peak {score_text(event.peak_score)}")
    if event.severity is not None:
        facts.append(event.severity)
    if event.p_value is not None:
        facts.append(f"p-value {event.p_value:.2g}")
    return "  ".join([*facts, *filter(None, [event.detail])])


def _dry_run_json(run: DryRun) -> dict[str, object]:
    """One recording as plain values."""
    from offnormal.events.event import event_to_json

    return {
        "camera": run.camera,
        "source": run.source,
        "threshold": run.thresholds.threshold,
        "low_threshold": run.thresholds.low,
        "guarantee": run.thresholds.guarantee,
        "seconds": round(run.seconds, 3),
        "frames": run.frames,
        "scored_frames": run.scored,
        "suppressed_frames": run.suppressed_frames,
        "alarms": run.alarms,
        "took_s": round(run.took_s, 3),
        "events": [event_to_json(event) for event in run.events],
    }


def format_dry_runs(runs: list[DryRun]) -> list[str]:
    """One row per recording: length, alarms, alarm rate, time in alarm, camera events, speed."""
    from offnormal.drawing.wording import percent

    rows = [("recording", "footage", "alarms", "per hour", "in alarm", "camera events", "x real time")]
    for run in runs:
        hours = run.seconds / 3600
        inside = sum(event.duration_s for event in run.anomalies)
        per_hour = f"{run.alarms / hours:.2f}" if hours else "-"
        share = percent(inside / run.seconds) if run.seconds else "-"
        camera_events = str(len(run.events) - len(run.anomalies))
        speed = f"{run.seconds / run.took_s:.0f}" if run.took_s else "-"
        rows.append((run.camera, duration_text(run.seconds), str(run.alarms), per_hour, share, camera_events, speed))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
