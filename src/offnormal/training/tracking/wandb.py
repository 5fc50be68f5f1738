"""Weights & Biases: one of its runs, online, or with WANDB_MODE=offline in the run's folder."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from offnormal.errors import ConfigError
from offnormal.redact import redact
from offnormal.training.tracking.tracker import About, Point

_WRITTEN_S = 60.0  # within which the service of wandb writes the end of an offline run
_LOOK_S = 0.02
_BLOCK, _HEAD, _FILE_HEAD = 32768, 7, 7  # bytes of LevelDB's log format, which offline files have after a head
_FULL, _LAST = 1, 4  # kinds of a piece that end a record


class WandB:
    """A run whose steps are the training's; `project` may be entity/project."""

    package: ClassVar[str] = "wandb"

    def __init__(self, about: About, ident: str | None) -> None:
        import wandb

        entity, _, project = about.project.rpartition("/")
        self.ident = ident or secrets.token_hex(4)
        # what the program printed, its arguments and its sources stay here: they may hold secrets
        settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True)
        self._run: Any = wandb.init(
            entity=entity or None,
            project=project,
            id=self.ident,
            name=about.name,
            dir=str(about.folder),
            resume="allow",
            reinit="create_new",  # beside a run that the caller has open, never as part of it
            settings=settings,
        )
        if self._run.offline:
            folder = about.folder / "wandb" / f"offline-run-*-{self.ident}"
            self.place = f"offline; wandb sync --append {folder}"
        else:
            self.place = redact(self._run.url or "")
        self._step = self._run.step  # smaller ones are not taken

    @staticmethod
    def check() -> None:
        """ConfigError when nobody is logged in; asks on a terminal, as `wandb login` does."""
        import wandb

        if wandb.setup().settings.mode != "online":
            return
        try:
            wandb.login()
        except wandb.errors.UsageError as error:
            raise ConfigError(
                f"--track wandb: {redact(str(error))} Or set WANDB_API_KEY, or WANDB_MODE=offline to send it later"
            ) from None
        except wandb.Error:
            return  # cannot be reached now; tried again while it learns

    def configure(self, values: Mapping[str, object]) -> None:
        """As the run's configuration."""
        self._run.config.update(dict(values), allow_val_change=True)

    def points(self, points: Sequence[Point]) -> None:
        """As history, but for steps that it has already."""
        for point in points:
            if point.step >= self._step:
                self._run.log(point.values, step=point.step)
                self._step = point.step

    def rewind(self, step: int) -> None:
        """History cannot be taken back: the first values of each step stay."""

    def summary(self, values: Mapping[str, float | str], step: int) -> None:
        """As the run's summary."""
        self._run.summary.update(dict(values))

    def picture(self, name: str, png: bytes, step: int) -> None:
        """As an image of the last step."""
        import wandb

        self._run.log({name: wandb.Image(Image.open(io.BytesIO(png)))}, step=max(step, self._step))

    def close(self, *, failed: bool) -> None:
        """Waits until everything was sent, or offline, is in the file.

        `finish` returns before the service of wandb, a process of its own, has written the last block.
        """
        self._run.finish(exit_code=1 if failed else 0)
        if self._run.offline:
            _wait_for_end(Path(self._run.settings.sync_file))


def _wait_for_end(file: Path) -> None:
    messages = import_module("wandb.proto.wandb_internal_pb2")  # its types are made at import
    size, until_s = -1, time.monotonic() + _WRITTEN_S
    while time.monotonic() < until_s:
        if size != (size := file.stat().st_size):
            records = _records(file.read_bytes())
            if any(messages.Record.FromString(record).HasField("exit") for record in records):
                return
        time.sleep(_LOOK_S)
    raise TimeoutError(f"{file}: the end of the run was not written within {_WRITTEN_S:g} s")


def _records(data: bytes) -> Iterator[bytes]:
    """The whole records in the bytes of an offline file; the last may still be missing pieces."""
    at, record = _FILE_HEAD, b""
    while at + _HEAD <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _HEAD:  # the rest of a block is empty
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        at += _HEAD + length
        if at > len(data):
            return
        record += data[at - length : at]
        if kind in (_FULL, _LAST):
            yield record
            record = b""
