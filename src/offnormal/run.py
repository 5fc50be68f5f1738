"""A run folder, `runs/<time>-<detector>-<data>/`: configuration, log, results, and the bundle."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import numpy as np
import yaml
from pydantic import Strict, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from offnormal.errors import OffnormalError
from offnormal.files import sweep, write_text
from offnormal.input_files import load_json, load_yaml, read_text

if TYPE_CHECKING:  # bundles import torch, which `compare` does not need
    from offnormal.bundle import Bundle
    from offnormal.data.dataset import Skipped


@dataclass(frozen=True, slots=True)
class Destination:
    """A tracker or store that a run is sent to."""

    name: str  # wandb, tensorboard, mlflow, or upload
    location: str | None  # where to find the run; None if the destination was never reached
    missing: str | None = None  # what was not sent, and why


class Run:
    """The folder of one fit or evaluation; `bundle` is the fitted bundle."""

    def __init__(self, path: Path, bundle: Bundle | None = None) -> None:
        self.path = path
        self.skipped: list[Skipped] = []  # what the fit skipped
        self.read = 0  # items that the fit read
        self.destinations: list[Destination] = []  # trackers and stores of the fit
        self.has_test = False  # whether the dataset of the fit has a test set
        self._bundle = bundle
        self._lock = threading.Lock()

    @property
    def bundle(self) -> Bundle:
        """The fitted bundle; OffnormalError if the run has none."""
        if self._bundle is None:
            raise OffnormalError(f"{self.path}: this run has no bundle; fit again")
        return self._bundle

    @bundle.setter
    def bundle(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def log(self, event: str, **values: object) -> None:
        """Append one line of JSON with the time (UTC) to log.jsonl; OffnormalError if it cannot be written."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values}
        text = json.dumps(_to_json(line), ensure_ascii=False, allow_nan=False)
        path = self.path / "log.jsonl"
        try:
            # file names that are not Unicode become JSON escapes
            with self._lock, path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text + "\n")
        except OSError as error:
            raise OffnormalError(
                f"{path}: cannot be written ({error.strerror}); free some space, or choose another folder"
            ) from None

    def write_config(self, values: dict[str, object]) -> None:
        """Write the effective configuration to config.yaml."""
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_text(
            self.path / "config.yaml", text.replace("${", "$${")
        )  # so that `${` is not read as an environment variable


def read_config(path: Path) -> Any:
    """Read the values of `Run.write_config`; OSError or ValueError if they cannot be read."""
    return load_yaml(read_text(path).replace("$${", "${"))


LogLine = dict[str, Any]  # the values of `Run.log`, with time and event
_Number = Annotated[float, Strict()]
_Losses = dict[str, _Number | None]


class _Event(TypedDict):
    event: str


class _Step(TypedDict):
    step: Annotated[int, Strict()]
    losses: dict[str, _Losses]
    lr: dict[str, _Number]
    gradient: NotRequired[_Losses]


class _Validation(TypedDict):
    step: Annotated[int, Strict()]
    losses: _Losses
    best: Annotated[bool, Strict()]


_SHAPES: dict[str, type] = {"step": _Step, "validation": _Validation}


@cache
def _adapter(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def parse_log_line(line: bytes) -> LogLine | None:
    """Parse a line of log.jsonl; None for one that is damaged, or was cut off by a kill."""
    try:
        values: LogLine = load_json(line)
        event = _adapter(_Event).validate_python(values)["event"]
        if event in _SHAPES:
            _adapter(_SHAPES[event]).validate_python(values)
    except ValueError:
        return None
    return values


def new_run(root: Path, *names: str) -> Run:
    """Create a folder `<time>-<name>-<name>` below `root`; OffnormalError if it cannot be created.

    Unfinished files that killed programs left in earlier runs are removed.
    """
    sweep(root, depth=3)  # root/categories/run/checkpoints
    stem = "-".join([datetime.now().strftime("%Y%m%d-%H%M%S"), *(_file_name(name) for name in names)])
    for number in range(1, 1000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OffnormalError(
                f"{path}: cannot be created ({error.strerror}); choose another folder with --out"
            ) from None
        return Run(path)
    raise OffnormalError(f"{root}: 999 runs of the same second exist; choose another folder with --out")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)[:60].strip("_.") or "data"


def _to_json(value: object) -> object:
    """Convert a value for JSON: numpy numbers to numbers, non-finite numbers to null, and other objects to text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
