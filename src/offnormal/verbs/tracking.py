"""Tracking and upload of a run while a verb works on it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from offnormal.config.fit import TrackingConfig
from offnormal.drawing.curves import curves
from offnormal.errors import ConfigError, OffnormalError
from offnormal.run import Destination, Run
from offnormal.training.history import read_history
from offnormal.training.tracking.session import Tracking, check_trackers, list_trackers
from offnormal.training.upload.store import Store
from offnormal.training.upload.uploader import Mirror, Uploader

log = logging.getLogger(__name__)


def check_destinations(config: TrackingConfig) -> None:
    """Raise ConfigError for a tracker or URL that cannot be used here, before any data is read."""
    if not config.track:
        for flag, value in (("--track-project", config.track_project), ("--track-run", config.track_run)):
            if value is not None:
                raise ConfigError(f"{flag} {value} needs --track wandb, tensorboard, or mlflow")
    check_trackers(config.track)
    if config.upload is not None:
        Store(config.upload)


@contextlib.contextmanager
def track_and_upload(run: Run, config: TrackingConfig) -> Iterator[None]:
    """Track and upload the run while the block runs; failures never reach the block.

    `run.destinations` has the result; a warning lists what was not sent.
    """
    name = None if config.track_run is None else config.track_run + _category(run.path, config)
    tracking = Tracking(run.path, list(dict.fromkeys(config.track)), config.track_project, name)
    uploader = None if config.upload is None else Uploader(Mirror(run.path, config.upload))
    failed = True
    try:
        yield
        failed = False
    finally:
        if config.track:
            tracking.add_images(_plot_curves(run))
        run.destinations = tracking.close(failed=failed, hurry=failed)
        _warn_missing(run, run.destinations)
        if uploader is not None:
            upload = uploader.close(hurry=failed)
            run.destinations.append(upload)
            _warn_missing(run, [upload])


def update_trackers(run: Run) -> None:
    """Send what an evaluation added to a run's log to its trackers."""
    names = list_trackers(run.path)
    if not names:
        return
    try:
        check_trackers(names)
    except ConfigError as error:
        log.warning("the evaluation is not tracked: %s", error)
        return
    run.destinations = Tracking(run.path, names).close()
    _warn_missing(run, run.destinations)


def _category(path: Path, config: TrackingConfig) -> str:
    return f"/{path.name}" if getattr(config, "category", None) == "all" else ""


def _plot_curves(run: Run) -> dict[str, bytes]:
    history = read_history(run.path / "log.jsonl")
    return {f"curves/{plot.title}": plot.png for plot in curves(history)}


def _warn_missing(run: Run, destinations: list[Destination]) -> None:
    for destination in destinations:
        if destination.missing is None:
            continue
        is_upload = destination.name == "upload"
        advice = f"offnormal upload {run.path} URL" if is_upload else "the next --resume or evaluation"
        log.warning("%s: %s; %s sends it", destination.name, destination.missing, advice)
        with contextlib.suppress(OffnormalError):  # perhaps the disk is full
            run.log("not_sent", destination=destination.name, missing=destination.missing)
