"""A run's folder: `runs/<time>-<detector>-<data>/` with configuration, log, results and the bundle."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from offnormal.errors import OffnormalError
from offnormal.files import write_text

if TYPE_CHECKING:  # a bundle brings torch along, which a comparison never needs
    from offnormal.bundle import Bundle
    from offnormal.data.dataset import Skipped


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A place outside its folder where a run is shown or kept."""

    name: str  # wandb, upload
    place: str | None  # where people look; None when it was never reached
    missing: str | None = None  # what it lacks, and why


class Run:
    """Where one fit or evaluation keeps what it made; `bundle` is the fitted one."""

    def __init__(self, path: Path, bundle: Bundle | None = None) -> None:
        self.path = path
        self.skipped: list[Skipped] = []  # files that the fit left out
        self.elsewhere: list[Elsewhere] = []  # trackers and stores that the fit was shown in
        self.has_test = False  # whether the dataset of the fit has pictures to evaluate on
        self._bundle = bundle
        self._lock = threading.Lock()

    @property
    def bundle(self) -> Bundle:
        """The fitted bundle; OffnormalError when the run has made none."""
        if self._bundle is None:
            raise OffnormalError(f"the run {self.path} has no bundle")
        return self._bundle

    @bundle.setter
    def bundle(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def log(self, event: str, **values: object) -> None:
        """Append one line of JSON with the time (UTC) to log.jsonl; OffnormalError when it cannot be written."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values}
        text = json.dumps(_strict(line), ensure_ascii=False, allow_nan=False)
        path = self.path / "log.jsonl"
        try:
            # a file name that is not Unicode becomes an escape of JSON
            with self._lock, path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text + "\n")
        except OSError as error:
            raise OffnormalError(
                f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
            ) from None

    def write_config(self, values: dict[str, object]) -> None:
        """The effective configuration as config.yaml."""
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_text(self.path / "config.yaml", text.replace("${", "$${"))  # no variable of the environment


def read_config(path: Path) -> Any:
    """What `Run.write_config` wrote, as it was; OSError, UnicodeDecodeError and YAMLError for what cannot be read."""
    return yaml.safe_load(path.read_text(encoding="utf-8").replace("$${", "${"))


LogLine = dict[str, Any]  # what `Run.log` was given, with time and event


def parse_log_line(line: bytes) -> LogLine | None:
    """A line of log.jsonl; None for one cut off by a kill."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def new_run(root: Path, *names: str) -> Run:
    """A fresh folder `<time>-<name>-<name>` below `root`; OffnormalError when it cannot be made."""
    stem = "-".join([datetime.now().strftime("%Y%m%d-%H%M%S"), *(_plain(name) for name in names)])
    for number in range(1, 1000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OffnormalError(
                f"{path}: cannot be made ({error.strerror}); choose another folder with --out"
            ) from None
        return Run(path)
    raise OffnormalError(f"{root}: too many runs of the same second; choose another folder with --out")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)[:60].strip("_.") or "data"


def _strict(value: object) -> object:
    """The value as JSON knows it: numbers of numpy as numbers, those that are not finite as null, others as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
