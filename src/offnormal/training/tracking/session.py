"""The trackers of one run; each follows its log and sends new lines."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from offnormal.errors import ConfigError, OffnormalError
from offnormal.files import write_text
from offnormal.run import Destination, read_config
from offnormal.training.tracking.log_reader import Rewind, Summary, last_step, read_events, read_lines
from offnormal.training.tracking.tracker import Point, RunInfo, TrackedRun, Tracker
from offnormal.training.worker import Worker

_TRACKERS = {"wandb": "wandb:WandB", "tensorboard": "tensorboard:TensorBoard", "mlflow": "mlflow:MLflow"}
_STATE = "tracking.json"
_PROJECT = "offnormal"
_EVERY_S = 1.0  # between two reads of the log
_PATIENCE_S, _STALL_S = 20.0, 60.0  # at the end
_HURRY_S = 5.0  # at the end of a fit that failed or was interrupted
_STATE_MODEL = TypeAdapter(dict[str, TrackedRun])  # by tracker


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError if one of these trackers cannot be used on this machine; the message names the extra."""
    for name in names:
        tracker = _resolve(name)
        if find_spec(tracker.package) is None:
            raise ConfigError(
                f"--track {name}: the package {tracker.package!r} is not installed; pip install 'offnormal[{name}]'"
            )
        try:
            tracker.check()
        except ImportError as error:
            raise ConfigError(
                f"--track {name}: the package {tracker.package!r} cannot be imported ({error}); reinstall it: "
                f"pip install --force-reinstall 'offnormal[{name}]'"
            ) from None


class Tracking:
    """Followers of a run's log; tracking.json stores the state of each tracked run."""

    def __init__(self, run: Path, names: Sequence[str], project: str | None = None, name: str | None = None) -> None:
        self._file = run / _STATE
        self._lock = threading.Lock()
        self._states = _read_states(self._file)
        self._followers = []
        for tracker in names:
            state = self._states.get(tracker) or TrackedRun(project=project or _PROJECT, name=name or run.name)
            save = partial(self._save, tracker)
            with contextlib.suppress(OffnormalError):  # saved first, so that a later process can send everything
                save(state)
            info = RunInfo(folder=run, project=state.project, name=state.name)
            self._followers.append(_Follower(tracker, _resolve(tracker), info, state, save))

    def add_images(self, images: dict[str, bytes]) -> None:
        """Send images (PNG) by name."""
        for follower in self._followers:
            follower.add_images(images)

    def close(self, *, failed: bool = False, hurry: bool = False) -> list[Destination]:
        """Send the remaining values to all trackers in parallel; return where each run is and what is missing there."""
        if not self._followers:
            return []
        with ThreadPoolExecutor(len(self._followers)) as pool:
            return list(pool.map(lambda follower: follower.close(failed=failed, hurry=hurry), self._followers))

    def _save(self, tracker: str, state: TrackedRun) -> None:
        with self._lock:
            self._states[tracker] = state
            write_text(self._file, json.dumps(_STATE_MODEL.dump_python(self._states), indent=1) + "\n")


class _Follower:
    """Sends the log to one tracker in a thread, from where the last one stopped; nothing is lost if a tracker is down.

    state: the last one passed to `save`, perhaps by an earlier process.
    """

    def __init__(
        self, name: str, tracker: type[Tracker], info: RunInfo, state: TrackedRun, save: Callable[[TrackedRun], None]
    ) -> None:
        self.name = name
        self._tracker_class, self._info, self._save = tracker, info, save
        self._state = state
        self._tracker: Tracker | None = None
        self._images: dict[str, bytes] = {}
        self._ending: bool | None = None  # once the fit has ended: whether it failed
        self._is_closed = False
        self._lock = threading.Lock()
        self._worker = Worker(self._follow, name=f"tracking with {name}", interval_s=_EVERY_S)

    def add_images(self, images: dict[str, bytes]) -> None:
        """Send images (PNG) as well."""
        with self._lock:
            self._images |= images

    def close(self, *, failed: bool, hurry: bool) -> Destination:
        """Send the remaining values and stop; return what is missing. hurry: the fit was interrupted."""
        self._ending = failed
        patience, stall = (_HURRY_S, _HURRY_S) if hurry else (_PATIENCE_S, _STALL_S)
        error = self._worker.close(patience_s=patience, stall_s=stall)
        return Destination(self.name, self._state.location, None if error is None else f"{self._missing()} ({error})")

    def _follow(self) -> None:
        if self._is_closed:
            return
        ending = self._ending  # read before the log is read for the last time
        try:
            if self._tracker is None:
                self._open()
            while self._send():
                self._worker.note_progress()
            self._send_images()
            if ending is not None and self._tracker is not None:
                self._tracker.close(failed=ending)
                self._is_closed = True
        except BaseException:
            self._tracker = None  # opened again in the next run of the task
            raise

    def _open(self) -> None:
        self._tracker = tracker = self._tracker_class(self._info, self._state.id)
        self._update(id=tracker.ident, location=tracker.location)
        if not self._state.configured:
            tracker.configure(read_config(self._info.folder / "config.yaml"))
            self._update(configured=True)

    def _update(self, **values: object) -> None:
        self._state = self._state.model_copy(update=values)
        self._save(self._state)

    def _send(self) -> bool:
        """Send the next lines of the log; return whether there were any."""
        assert self._tracker is not None
        log = self._log()
        if not log.is_file():
            return False
        lines, end = read_lines(log, self._state.bytes_sent)
        if end == self._state.bytes_sent:
            return False
        points: list[Point] = []
        for event in read_events(lines, self._state.step):
            if isinstance(event, Point):
                points.append(event)
                continue
            self._tracker.log_points(points)
            last, points = (points[-1].step if points else self._state.step), []
            if isinstance(event, Rewind):
                self._tracker.rewind(event.step)
            else:
                assert isinstance(event, Summary)
                self._tracker.log_summary(event.values, last)
        self._tracker.log_points(points)
        self._update(bytes_sent=end, step=last_step(lines, self._state.step))
        return True

    def _send_images(self) -> None:
        assert self._tracker is not None
        with self._lock:
            images = dict(self._images)
        for name, png in images.items():
            self._tracker.log_image(name, png, self._state.step)
            with self._lock:
                del self._images[name]

    def _missing(self) -> str:
        log = self._log()
        with self._lock:
            images = len(self._images)
        data = log.read_bytes() if log.is_file() else b""
        lines = data[self._state.bytes_sent :].count(b"\n")
        counts = ((lines, "line of the log", "lines of the log"), (images, "image", "images"))
        missing = [f"{n} {singular if n == 1 else plural}" for n, singular, plural in counts if n]
        return f"not sent: {' and '.join(missing)}" if missing else "perhaps not everything was sent"

    def _log(self) -> Path:
        return self._info.folder / "log.jsonl"


def list_trackers(run: Path) -> list[str]:
    """Return the names of the trackers that a run uses."""
    return [name for name in _read_states(run / _STATE) if name in _TRACKERS]


def _resolve(name: str) -> type[Tracker]:
    module, _, attribute = _TRACKERS[name].partition(":")
    tracker: type[Tracker] = getattr(import_module(f"offnormal.training.tracking.{module}"), attribute)
    return tracker


def _read_states(file: Path) -> dict[str, TrackedRun]:
    try:
        return _STATE_MODEL.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return {}
