"""The trackers of one run, each of which follows its log: what is new in it is read and sent on."""

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
from offnormal.run import Elsewhere, read_config
from offnormal.training.tracking.reading import Rewind, Summary, last_step, read_events, read_lines
from offnormal.training.tracking.tracker import About, Known, Point, Tracker
from offnormal.training.worker import Worker

_TRACKERS = {"wandb": "wandb:WandB", "tensorboard": "tensorboard:TensorBoard", "mlflow": "mlflow:MLflow"}
_STATE = "tracking.json"
_PROJECT = "offnormal"
_EVERY_S = 1.0  # between two looks at the log
_PATIENCE_S, _STALL_S = 20.0, 60.0  # at the end
_HURRY_S = 5.0  # at the end of a fit that failed or was interrupted
_KNOWN = TypeAdapter(dict[str, Known])  # by tracker


def check(names: Sequence[str]) -> None:
    """ConfigError when one of these trackers cannot be used on this machine, naming the extra to install."""
    for name in names:
        made = _resolve(name)
        if find_spec(made.package) is None:
            raise ConfigError(
                f"--track {name}: the package {made.package!r} is not installed; pip install 'offnormal[{name}]'"
            )
        try:
            made.check()
        except ImportError as error:
            raise ConfigError(
                f"--track {name}: the package {made.package!r} cannot be imported ({error}); install it anew with "
                f"pip install 'offnormal[{name}]'"
            ) from None


class Tracking:
    """Followers of a run's log, and in tracking.json what it takes to go on with the same tracked runs."""

    def __init__(self, run: Path, names: Sequence[str], project: str | None = None, name: str | None = None) -> None:
        self._file = run / _STATE
        self._lock = threading.Lock()
        self._known = _read(self._file)
        self._followers = []
        for tracker in names:
            known = self._known.get(tracker) or Known(project=project or _PROJECT, name=name or run.name)
            remember = partial(self._remember, tracker)
            with contextlib.suppress(OffnormalError):  # so that one that is never reached can be sent everything later
                remember(known)
            about = About(folder=run, project=known.project, name=known.name)
            self._followers.append(_Follower(tracker, _resolve(tracker), about, known, remember))

    def show(self, pictures: dict[str, bytes]) -> None:
        """Show pictures (PNG) by their names."""
        for follower in self._followers:
            follower.show(pictures)

    def close(self, *, failed: bool = False, hurry: bool = False) -> list[Elsewhere]:
        """Send what is left to all at the same time, and say where each shows the run and what it lacks."""
        if not self._followers:
            return []
        with ThreadPoolExecutor(len(self._followers)) as pool:
            return list(pool.map(lambda follower: follower.close(failed=failed, hurry=hurry), self._followers))

    def _remember(self, tracker: str, known: Known) -> None:
        with self._lock:
            self._known[tracker] = known
            write_text(self._file, json.dumps(_KNOWN.dump_python(self._known), indent=1) + "\n")


class _Follower:
    """Sends the log to one tracker, in a thread, from where it was sent up to before; nothing is lost while it is away.

    known: what `remember` was given last, maybe in an earlier process.
    """

    def __init__(
        self, name: str, made: type[Tracker], about: About, known: Known, remember: Callable[[Known], None]
    ) -> None:
        self.name = name
        self._made, self._about, self._remember = made, about, remember
        self._known = known
        self._tracker: Tracker | None = None
        self._pictures: dict[str, bytes] = {}
        self._ending: bool | None = None  # whether the fit has failed, once it has ended
        self._ended = False
        self._lock = threading.Lock()
        self._worker = Worker(self._turn, what=f"tracking with {name}", every_s=_EVERY_S)

    def show(self, pictures: dict[str, bytes]) -> None:
        """Send pictures (PNG), too."""
        with self._lock:
            self._pictures |= pictures

    def close(self, *, failed: bool, hurry: bool) -> Elsewhere:
        """Send what is left and end; what could not be sent is said. hurry: a fit was broken off."""
        self._ending = failed
        patience, stall = (_HURRY_S, _HURRY_S) if hurry else (_PATIENCE_S, _STALL_S)
        error = self._worker.close(patience_s=patience, stall_s=stall)
        return Elsewhere(self.name, self._known.place, None if error is None else f"{self._left()} ({error})")

    def _turn(self) -> None:
        if self._ended:
            return
        ending = self._ending  # before the log is read for the last time
        try:
            if self._tracker is None:
                self._open()
            while self._send():
                self._worker.moved()
            self._show()
            if ending is not None and self._tracker is not None:
                self._tracker.close(failed=ending)
                self._ended = True
        except BaseException:
            self._tracker = None  # opened anew at the next turn
            raise

    def _open(self) -> None:
        self._tracker = tracker = self._made(self._about, self._known.id)
        self._learn(id=tracker.ident, place=tracker.place)
        if not self._known.configured:
            tracker.configure(read_config(self._about.folder / "config.yaml"))
            self._learn(configured=True)

    def _learn(self, **values: object) -> None:
        self._known = self._known.model_copy(update=values)
        self._remember(self._known)

    def _send(self) -> bool:
        """Send a piece of the log; whether there was one."""
        assert self._tracker is not None
        log = self._log()
        if not log.is_file():
            return False
        lines, end = read_lines(log, self._known.sent)
        if end == self._known.sent:
            return False
        points: list[Point] = []
        for event in read_events(lines, self._known.step):
            if isinstance(event, Point):
                points.append(event)
                continue
            self._tracker.points(points)
            at, points = (points[-1].step if points else self._known.step), []
            if isinstance(event, Rewind):
                self._tracker.rewind(event.step)
            else:
                assert isinstance(event, Summary)
                self._tracker.summary(event.values, at)
        self._tracker.points(points)
        self._learn(sent=end, step=last_step(lines, self._known.step))
        return True

    def _show(self) -> None:
        assert self._tracker is not None
        with self._lock:
            pictures = dict(self._pictures)
        for name, png in pictures.items():
            self._tracker.picture(name, png, self._known.step)
            with self._lock:
                del self._pictures[name]

    def _left(self) -> str:
        log = self._log()
        with self._lock:
            pictures = len(self._pictures)
        whole = log.read_bytes() if log.is_file() else b""
        lines = whole[self._known.sent :].count(b"\n")
        found = [
            f"{number} {thing}" for number, thing in ((lines, "line(s) of the log"), (pictures, "picture(s)")) if number
        ]
        return f"not sent: {' and '.join(found)}" if found else "perhaps not all was sent"

    def _log(self) -> Path:
        return self._about.folder / "log.jsonl"


def trackers_of(run: Path) -> list[str]:
    """The trackers that a run is shown in."""
    return [name for name in _read(run / _STATE) if name in _TRACKERS]


def _resolve(name: str) -> type[Tracker]:
    module, _, attribute = _TRACKERS[name].partition(":")
    found: type[Tracker] = getattr(import_module(f"offnormal.training.tracking.{module}"), attribute)
    return found


def _read(file: Path) -> dict[str, Known]:
    try:
        return _KNOWN.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return {}
