"""Videos in memory, for tests of video reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offnormal.errors import VideoError
from offnormal.sources.video import VideoInfo
from offnormal.types import Frame, Item
from tests.items import video as video_item

SIZE = (8, 12)


@dataclass
class MemoryVideo:
    """Frame i has the value `base + i` everywhere."""

    count: int = 10
    base: int = 0
    fps: float | None = 25.0
    size: tuple[int, int] = SIZE
    lost: tuple[int, ...] = ()
    fails_at: int | None = None  # with a VideoError
    breaks_at: int | None = None  # with a ZeroDivisionError
    unreadable: bool = False
    truncated: bool = False  # adds a warning after the last frame
    stated_frames: int | None = -1  # in the header; -1: the true number
    exact: bool = True


class MemoryReader:
    """Replaces the reader of `open_video`; records decoded frames and open videos."""

    def __init__(self, path: Path, video: MemoryVideo, store: VideoStore) -> None:
        self.path, self.video, self.store = path, video, store
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.restarts: list[int] = []
        frames = video.count if video.stated_frames == -1 else video.stated_frames
        seconds = frames / video.fps if video.fps and frames is not None else None
        self.info = VideoInfo(frames=frames, exact=video.exact, fps=video.fps, size=video.size, duration_s=seconds)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        for index in range(start, self.video.count if stop is None else stop):
            if index == self.video.fails_at:
                raise VideoError(f"{self.path}: damaged")
            if index == self.video.breaks_at:
                raise ZeroDivisionError("a fault of the program")
            if index in self.video.lost:
                continue
            self.store.decoded.append((self.path.name, index))
            value = self.video.base + index
            image = np.full((*self.video.size, 3), value % 256, np.uint8)
            yield Frame(index, index / self.video.fps if self.video.fps else None, image)
        if self.video.truncated:
            self.warnings.append(f"{self.path}: truncated")

    def thinned(self, every_s: float) -> Iterator[Frame]:
        step = round(every_s * (self.video.fps or 1))
        return (frame for frame in self.frames() if frame.index % step == 0)

    def times(self) -> list[float | None]:
        indices = range(self.video.count)
        return [None if i in self.video.lost or not self.video.fps else i / self.video.fps for i in indices]

    def __enter__(self) -> MemoryReader:
        self.store.open.append(self.path.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.store.open.remove(self.path.name)


class VideoStore:
    """Videos in memory by file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.videos: dict[str, MemoryVideo] = {}
        self.decoded: list[tuple[str, int]] = []
        self.open: list[str] = []

    def add(self, name: str, *, labels: object = None, group: str | None = None, **more: object) -> Item:
        """Add a video and return its item."""
        path = self.folder / f"{name}.mp4"
        path.write_text(name)
        self.videos[path.name] = MemoryVideo(**more)
        return video_item(
            path, name=name, frame_labels=None if labels is None else np.array(labels, np.uint8), group=group
        )

    def open_video(self, path: Path, **_: object) -> MemoryReader:
        """Replaces sources.video.open_video."""
        if self.videos[path.name].unreadable:
            raise VideoError(f"{path}: no video stream")
        return MemoryReader(path, self.videos[path.name], self)
