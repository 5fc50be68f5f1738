"""Calls of the installed program, and what of their results does not depend on the moment or the place.

A call is `python -m offnormal ...` in a fork of this process, which has imported the libraries once: a call then takes
tenths of a second. `alone=True` starts a Python of its own instead, as a user does.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import itertools
import json
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import renames

_HERE = str(Path(__file__).resolve().parent)
# of JSON: how long something took, what differs from one start to the next, and the machine
_DROPPED = {"created", "versions", "machine", "processors"}
_TEXT = (
    (re.compile(r"\b\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}"), "<event>"),
    (re.compile(r"\b\d{8}-\d{6}(-\d+)?-(?=[a-z])"), "<start>-"),
    (
        re.compile(r"\b(?=[0-9]*[a-f])[0-9a-f]{12,64}\b|(?<![\d.])\b\d{12,64}\b"),
        "<hash>",
    ),  # weights' hashes are entries
    (re.compile(r"characterize-\w+"), "<work>"),
)


_MOMENT = re.compile(r"\b(20[2-9]\d-\d\d-\d\d)([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d| UTC)?)?")


def _without_moment(match: re.Match[str]) -> str:
    """Times of these days say when something was run; others belong to the inputs."""
    with contextlib.suppress(ValueError):
        if abs((date.fromisoformat(match[1]) - date.today()).days) <= 2:
            return "<time>"
    return match[0]


@dataclass(frozen=True, slots=True)
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """What was printed with --json, one value a line; lines that are none as text."""
        return [_value(line) for line in self.out.splitlines()]

    def entry(self, *, json: bool = False) -> dict[str, Any]:
        """Exit code, stdout, stderr as lines."""
        out = self.json if json else self.out.splitlines()
        return {"exit": self.code, "stdout": out, "stderr": _without_progress(self.err)}


class Program:
    """The installed program, on inputs below one folder."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.home = work / "home"
        self.home.mkdir()
        os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "characterize-fonts"))  # slow to make
        os.environ.update({"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache")})
        data = os.environ.get("OFFNORMAL_TEST_DATA")
        self.data = Path(data).resolve() if data and Path(data).is_dir() else None
        self._helps: dict[str, str] = {}
        _import_all()
        self._places = [  # the longest first
            (str(work), "<work>"),
            *([(str(self.data), "<data>")] if self.data else []),
            (str(Path(importlib.import_module("offnormal").__file__ or "").parent), "<offnormal>"),
            (sys.prefix, "<python>"),
        ]

    def folder(self, name: str) -> Path:
        """A folder for one section's inputs and runs."""
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def flags(self, arguments: list[str]) -> list[str]:
        """The arguments with the flags that this version of the program knows."""
        verb, words, i = arguments[0], [], 0
        while i < len(arguments):
            word, i = arguments[i], i + 1
            later = renames.FLAGS.get((verb, word))
            if later is None or self._has(arguments, word) or not self._has(arguments, later[0]):
                words.append(word)
                continue
            values = list(itertools.takewhile(lambda next_word: not next_word.startswith("--"), arguments[i:]))
            i += len(values)
            for value in values:  # a flag takes one value each time
                words += [later[0], later[1].format(renames.VALUES.get((word, value), value))]
            words += [] if values else [later[0]]
        return words

    def _has(self, arguments: list[str], flag: str) -> bool:
        return re.search(rf"{flag}\s", self._help(arguments)) is not None

    def _alarm_rules(self, words: list[str]) -> list[str]:
        """Flags with which later versions count alarms as the first record does."""
        if len(words) < 3 or words[0] not in renames.COUNT_ALARMS or not self._has(words, "--min-duration"):
            return []
        return [word for flag, value in renames.ALARM_RULES.items() if flag not in words for word in (flag, value)]

    def help_page(self, *words: str) -> str:
        """The help of a verb, or of `fit` with a detector, with every flag."""
        return self._help(list(words))

    def watch_file(self, file: Path, values: dict[str, Any]) -> Path:
        """A configuration of `watch`, with the names that this version knows."""
        if self._has(["watch"], "--start-time"):
            values = renames.watch_config(values)
        if self._has(["watch"], "--max-duration"):
            values = renames.watch_rules(values)
        file.write_text(json.dumps(values))
        return file

    def _help(self, arguments: list[str]) -> str:
        words = arguments[:2] if arguments[0] == "fit" else arguments[:1]
        key = " ".join(words)
        if key not in self._helps:
            every = self._forked(lambda: _run([*words, "--help-all"]), self.work, {})
            page = every if every.code == 0 else self._forked(lambda: _run([*words, "--help"]), self.work, {})
            self._helps[key] = page.out
        return self._helps[key]

    def call(
        self, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None, alone: bool = False
    ) -> Done:
        """Run the program to its end."""
        words = self.flags([str(argument) for argument in arguments]) if arguments else []
        words += self._alarm_rules(words)
        if alone:
            return self._alone(words, cwd or self.work, env or {})
        return self._forked(lambda: _run(words), cwd or self.work, env or {})

    def start(self, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """The program in a Python of its own, still running; its output is text."""
        words = self.flags([str(argument) for argument in arguments])
        return subprocess.Popen(
            [sys.executable, "-m", "offnormal", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env={**os.environ, **(env or {})},
        )

    def ask(self, function: Callable[[], Any]) -> Any:
        """What a function of this process finds in a fork of it, as plain values; how it failed as text."""

        def answer() -> int:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - what fails is recorded
                traceback.print_exc()
                result = f"{type(error).__name__}: {error}"
            sys.stdout.write("\n\x1d" + json.dumps(result))
            return 0

        done = self._forked(answer, self.work, {})
        text = done.out.rpartition("\x1d")[2]
        return json.loads(text) if "\x1d" in done.out else f"exit {done.code}: {done.err.splitlines()[-3:]}"

    def _alone(self, words: list[str], cwd: Path, env: Mapping[str, str]) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "offnormal", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **env},
            timeout=900,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _forked(self, function: Callable[[], int], cwd: Path, env: Mapping[str, str]) -> Done:
        files = [self.work / f".{name}-{os.getpid()}" for name in ("stdout", "stderr")]
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            code = 70
            try:
                for number, path in enumerate(files, 1):
                    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.dup2(handle, number)
                os.environ.update(env)
                os.chdir(cwd)
                sys.path[:] = [folder for folder in sys.path if folder != _HERE]
                code = function()
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = _waited(child)
        return Done(code, *(path.read_text(errors="replace") for path in files))

    def normalized(self, value: Any) -> Any:
        """A value without places, times, hashes, and how long things took."""
        if isinstance(value, Mapping):
            return {
                self.normalized(str(key)): self.normalized(inner) for key, inner in value.items() if key not in _DROPPED
            }
        if isinstance(value, list | tuple):
            return [self.normalized(inner) for inner in value]
        if isinstance(value, Path):
            return self.normalized(str(value))
        if isinstance(value, str):
            if value.startswith("sha256!"):  # a hash that is itself what is recorded
                return value
            for path, name in self._places:
                value = value.replace(path, name)
            value = _MOMENT.sub(_without_moment, value)
            for pattern, instead in _TEXT:
                value = pattern.sub(instead, value)
        return value


def _import_all() -> None:
    """What calls need, once for all of them; optional packages may be missing."""
    for name in (
        "torch",
        "timm",
        "sklearn.metrics",
        "scipy.stats",
        "matplotlib.pyplot",
        "av",
        "jinja2",
        "rich.progress",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    package = importlib.import_module("offnormal")
    for module in pkgutil.walk_packages(package.__path__, "offnormal.", onerror=lambda _: None):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def _run(words: list[str]) -> int:
    sys.argv = ["offnormal", *words]
    try:
        runpy.run_module("offnormal", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _waited(child: int, limit_s: float = 900) -> int:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 124


def _without_progress(text: str) -> list[str]:
    """Lines of stderr without bars of progress and what libraries print about the machine."""
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return [line for line in lines if line and not re.search(r"━|it/s|\d+%\s*\||Lightning|UserWarning", line)]


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def read_csv(path: Path) -> Any:
    """Rows of a CSV file as mappings, numbers as numbers."""
    if not path.is_file():
        return f"no {path.name}"
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _cell(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _cell(value: str | None) -> Any:
    try:
        return value if value is None else float(value) if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", value) else value
    except ValueError:
        return value


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else f"no {path.name}"


def read_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(io.StringIO(text))


def files_below(folder: Path) -> list[str]:
    """Files by their paths in a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def internal(address: str) -> Any:
    """What stands at module:name; LookupError that says it has moved."""
    for candidate in (address, *renames.MOVED.get(address, ())):
        module, _, name = candidate.partition(":")
        with contextlib.suppress(ImportError, AttributeError):
            value = importlib.import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
            return value
    raise LookupError(f"moved: {address}")
