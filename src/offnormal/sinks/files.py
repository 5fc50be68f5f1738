"""Write each event to a folder as a JSON file, with its images and clip."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from offnormal.files import explain_write_errors, new_file, write_text
from offnormal.recording.retention import Retention
from offnormal.sinks.base import Message, Sink, SinkOptions

_MEDIA: tuple[tuple[Literal["snapshot", "heat_map", "clip"], str], ...] = (
    ("snapshot", ""),
    ("heat_map", "-heat"),
    ("clip", ""),
)


class EventFilesOptions(SinkOptions):
    """Options of a folder of events."""

    folder: Path
    """Folder for the events, with a subfolder for each day and camera."""
    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Delete files of events after this many days; default: never."""
    keep_gb: Annotated[float, Field(gt=0)] | None = None
    """Delete files of the oldest events beyond this many gigabytes; default: never."""


class EventFilesSink(Sink):
    """Writes FOLDER/DAY/CAMERA/ID.json, .jpg, -heat.jpg, and .mp4, and replaces existing files."""

    Options = EventFilesOptions
    target_option = "folder"

    def __init__(self, options: EventFilesOptions) -> None:
        super().__init__(options)
        self.folder = options.folder
        self._retention = Retention(options.folder, days=options.keep_days, gigabytes=options.keep_gb, cameras=True)

    @property
    def description(self) -> str:
        """Kind and folder."""
        return f"files {self.folder}"

    def deliver(self, message: Message) -> None:
        """Write the event's files, the JSON file last; OffnormalError if the disk is full."""
        event = message.event
        folder = self.folder / f"{event.start:%Y-%m-%d}" / (re.sub(r"[^\w.-]+", "_", event.camera) or "camera")
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, ending in _MEDIA:
                source = message.file(name)
                if source is not None:
                    _link_or_copy(source, folder / f"{event.id}{ending}{source.suffix}")
        write_text(folder / f"{event.id}.json", json.dumps(message.to_json(), indent=1, ensure_ascii=False) + "\n")

    def idle(self) -> None:
        """Delete old files."""
        self._retention.sweep_if_due()


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard-link the file, or copy it if the file system cannot."""
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    with new_file(target) as partial:
        shutil.copyfile(source, partial)
