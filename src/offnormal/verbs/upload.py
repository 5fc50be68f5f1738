"""offnormal upload: upload a run, or the runs of several categories, to a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offnormal.errors import ConfigError, DataError
from offnormal.training.upload.uploader import previous_address, upload_run


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A run and its address in the store."""

    run: Path
    url: str
    files: int  # uploaded; unchanged ones are skipped


def upload_runs(run: Path, url: str | None) -> Iterator[Uploaded]:
    """Upload each run of a folder. url: default: the store that the run was uploaded to before.

    Raises DataError without a run, ConfigError for an invalid URL, OffnormalError if the store cannot be reached.
    """
    runs = [log.parent for log in (run / "log.jsonl", *sorted(run.glob("*/log.jsonl"))) if log.is_file()]
    if not runs:
        raise DataError(f"{run}: no run in this folder; expected a folder with log.jsonl, such as those in runs/")
    for each in runs:
        store = url or previous_address(each)
        if store is None:
            raise ConfigError(f"{each} was not uploaded before; add a URL such as s3://bucket/prefix")
        files, address = upload_run(each, store)
        yield Uploaded(each, address, files)
