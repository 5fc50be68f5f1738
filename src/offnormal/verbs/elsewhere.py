"""Showing and keeping a run elsewhere while a verb works on it: trackers, and a copy in a store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from offnormal.config.fit import TrackingConfig
from offnormal.drawing.curves import curves
from offnormal.errors import ConfigError, OffnormalError
from offnormal.run import Elsewhere, Run
from offnormal.training.history import read_history
from offnormal.training.tracking.session import Tracking, check, trackers_of
from offnormal.training.upload.store import Store
from offnormal.training.upload.uploader import Mirror, Uploader

log = logging.getLogger(__name__)


def check_elsewhere(config: TrackingConfig) -> None:
    """ConfigError for a tracker or an address that cannot be used here, before anything is read."""
    if not config.track:
        for flag, value in (("--track-project", config.track_project), ("--track-run", config.track_run)):
            if value is not None:
                raise ConfigError(f"{flag} {value} without --track: give wandb, tensorboard or mlflow, too")
    check(config.track)
    if config.upload is not None:
        Store(config.upload)


@contextlib.contextmanager
def elsewhere(run: Run, config: TrackingConfig) -> Iterator[None]:
    """Show the run in its trackers and upload it while the block works on it; nothing of that can fail the block.

    What came of it is in `run.elsewhere`, and what is missing somewhere is warned of at the end.
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
            tracking.show(_pictures(run))
        run.elsewhere = tracking.close(failed=failed, hurry=failed)
        _tell(run, run.elsewhere)
        if uploader is not None:
            kept = uploader.close(hurry=failed)
            run.elsewhere.append(kept)
            _tell(run, [kept])


def catch_up(run: Run) -> None:
    """Send what an evaluation has added to the log of a run to the trackers that show it."""
    names = trackers_of(run.path)
    if not names:
        return
    try:
        check(names)
    except ConfigError as error:
        log.warning("the evaluation is not tracked: %s", error)
        return
    run.elsewhere = Tracking(run.path, names).close()
    _tell(run, run.elsewhere)


def _category(path: Path, config: TrackingConfig) -> str:
    return f"/{path.name}" if getattr(config, "category", None) == "all" else ""


def _pictures(run: Run) -> dict[str, bytes]:
    history = read_history(run.path / "log.jsonl")
    return {f"curves/{plot.title}": plot.png for plot in curves(history)}


def _tell(run: Run, found: list[Elsewhere]) -> None:
    for one in found:
        if one.missing is None:
            continue
        advice = f"offnormal upload {run.path} URL" if one.name == "upload" else "the next --resume or evaluation"
        log.warning("%s: %s; %s sends the rest", one.name, one.missing, advice)
        with contextlib.suppress(OffnormalError):  # a full disk, perhaps the one that this is about
            run.log("not_sent", to=one.name, missing=one.missing)
