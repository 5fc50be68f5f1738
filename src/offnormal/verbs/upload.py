"""offnormal upload: what is left of a run, or of the runs of several categories, to a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offnormal.errors import ConfigError, DataError
from offnormal.training.upload.uploader import previous_address, upload_run


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A run and where it lies now."""

    run: Path
    place: str
    files: int  # that had changed


def upload_runs(run: Path, url: str | None) -> Iterator[Uploaded]:
    """Upload each run of a folder. url: by default where it was uploaded to before.

    Raises DataError without a run, ConfigError for an address that cannot be used, OffnormalError when it cannot be
    reached.
    """
    runs = [log.parent for log in (run / "log.jsonl", *sorted(run.glob("*/log.jsonl"))) if log.is_file()]
    if not runs:
        raise DataError(f"{run}: no run; expected a folder with log.jsonl, such as those below runs/")
    for one in runs:
        to = url or previous_address(one)
        if to is None:
            raise ConfigError(f"{one} was not uploaded before: say where to, such as s3://bucket/prefix")
        files, place = upload_run(one, to)
        yield Uploaded(one, place, files)
