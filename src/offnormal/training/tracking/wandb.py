"""Weights & Biases: a run online, or in the run folder with WANDB_MODE=offline."""

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
from offnormal.training.tracking.tracker import Point, RunInfo

_WRITE_LIMIT_S = 60.0  # in which the service of wandb must write the end of an offline run
_POLL_S = 0.02
_BLOCK, _HEADER, _FILE_HEADER = 32768, 7, 7  # bytes; offline files use LevelDB's log format after a file header
_FULL, _LAST = 1, 4  # types of a chunk that ends a record


class WandB:
    """A W&B run with the steps of the training; `project` may be entity/project."""

    package: ClassVar[str] = "wandb"

    def __init__(self, info: RunInfo, ident: str | None) -> None:
        import wandb

        entity, _, project = info.project.rpartition("/")
        self.ident = ident or secrets.token_hex(4)
        # output, arguments, and sources are not sent: they may contain secrets
        settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True)
        self._run: Any = wandb.init(
            entity=entity or None,
            project=project,
            id=self.ident,
            name=info.name,
            dir=str(info.folder),
            resume="allow",
            reinit="create_new",  # independent of a run that the caller has open
            settings=settings,
        )
        if self._run.offline:
            folder = info.folder / "wandb" / f"offline-run-*-{self.ident}"
            self.location = f"offline; wandb sync --append {folder}"
        else:
            self.location = redact(self._run.url or "")
        self._step = self._run.step  # smaller steps are rejected

    @staticmethod
    def check() -> None:
        """Raise ConfigError if nobody is logged in; prompts on a terminal, as `wandb login` does."""
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
            return  # unreachable now; tried again during training

    def configure(self, values: Mapping[str, object]) -> None:
        """Log the run's configuration."""
        self._run.config.update(dict(values), allow_val_change=True)

    def log_points(self, points: Sequence[Point]) -> None:
        """Log history; steps that W&B already has are skipped."""
        for point in points:
            if point.step >= self._step:
                self._run.log(point.values, step=point.step)
                self._step = point.step

    def rewind(self, step: int) -> None:
        """Do nothing: history cannot be removed, so the first values of each step stay."""

    def log_summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Log the run's summary."""
        self._run.summary.update(dict(values))

    def log_image(self, name: str, png: bytes, step: int) -> None:
        """Log an image at the last step."""
        import wandb

        self._run.log({name: wandb.Image(Image.open(io.BytesIO(png)))}, step=max(step, self._step))

    def close(self, *, failed: bool) -> None:
        """Wait until everything is sent or, offline, written to the file.

        `finish` returns before wandb's service process has written the last block.
        """
        self._run.finish(exit_code=1 if failed else 0)
        if self._run.offline:
            _wait_for_end(Path(self._run.settings.sync_file))


def _wait_for_end(file: Path) -> None:
    messages = import_module("wandb.proto.wandb_internal_pb2")  # creates its types at import
    size, until_s = -1, time.monotonic() + _WRITE_LIMIT_S
    while time.monotonic() < until_s:
        if size != (size := file.stat().st_size):
            records = _records(file.read_bytes())
            if any(messages.Record.FromString(record).HasField("exit") for record in records):
                return
        time.sleep(_POLL_S)
    raise TimeoutError(f"{file}: the end of the run was not written within {_WRITE_LIMIT_S:g} s")


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the complete records in the bytes of an offline file; the last record may be incomplete."""
    offset, record = _FILE_HEADER, b""
    while offset + _HEADER <= len(data):
        if (remaining := _BLOCK - offset % _BLOCK) < _HEADER:  # the rest of a block is empty
            offset += remaining
            continue
        length, chunk_type = int.from_bytes(data[offset + 4 : offset + 6], "little"), data[offset + 6]
        offset += _HEADER + length
        if offset > len(data):
            return
        record += data[offset - length : offset]
        if chunk_type in (_FULL, _LAST):
            yield record
            record = b""
