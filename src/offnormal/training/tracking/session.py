"""The trackers of one run: which there are, what is known of each from before, and their common beginning and end."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from offnormal.errors import ConfigError, OffnormalError
from offnormal.files import write_text
from offnormal.run import Elsewhere
from offnormal.training.tracking.follower import Follower
from offnormal.training.tracking.tracker import About, Known, Tracker

_TRACKERS = {"wandb": "wandb:WandB", "tensorboard": "tensorboard:TensorBoard", "mlflow": "mlflow:MLflow"}
_STATE = "tracking.json"
_PROJECT = "offnormal"
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
            self._followers.append(Follower(tracker, _resolve(tracker), about, known, remember))

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
