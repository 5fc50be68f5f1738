"""Events as files in a folder: a JSON file each, beside its pictures and its clip."""

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
    """What can be chosen of a folder of events."""

    folder: Path
    """Folder in which each day and camera gets one of its own."""
    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Days after which an event's files are removed; default: never."""
    keep_gb: Annotated[float, Field(gt=0)] | None = None
    """Gigabytes beyond which files of the oldest events are removed; default: never."""


class EventFilesSink(Sink):
    """Writes FOLDER/DAY/CAMERA/ID.json, .jpg, -heat.jpg and .mp4; again over what lies there."""

    Options = EventFilesOptions
    target_option = "folder"

    def __init__(self, options: EventFilesOptions) -> None:
        super().__init__(options)
        self.folder = options.folder
        self._retention = Retention(options.folder, days=options.keep_days, gigabytes=options.keep_gb, cameras=True)

    @property
    def shown(self) -> str:
        """The folder."""
        return f"files {self.folder}"

    def deliver(self, message: Message) -> None:
        """Write the event's files, the JSON file last; OffnormalError when the disk is full."""
        event = message.event
        folder = self.folder / f"{event.start:%Y-%m-%d}" / (re.sub(r"[^\w.-]+", "_", event.camera) or "camera")
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, ending in _MEDIA:
                source = message.file(name)
                if source is not None:
                    _place(source, folder / f"{event.id}{ending}{source.suffix}")
        write_text(folder / f"{event.id}.json", json.dumps(message.to_json(), indent=1, ensure_ascii=False) + "\n")

    def idle(self) -> None:
        """Let old files go."""
        self._retention.sweep_if_due()


def _place(source: Path, target: Path) -> None:
    """The same file under another name where the file system can, else a copy."""
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    with new_file(target) as partial:
        shutil.copyfile(source, partial)
