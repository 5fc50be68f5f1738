"""Videos that exist only in memory, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offnormal.errors import VideoError
from offnormal.sources.video import VideoInfo
from offnormal.types import Frame, Item
from tests.items import video

SIZE = (8, 12)


@dataclass
class Film:
    """Frame i of a film has the value `base + i` everywhere."""

    count: int = 10
    base: int = 0
    fps: float | None = 25.0
    size: tuple[int, int] = SIZE
    lost: tuple[int, ...] = ()
    fails_at: int | None = None  # with a VideoError
    breaks_at: int | None = None  # with what nobody expects
    unreadable: bool = False
    truncated: bool = False  # says so after its last frame
    promised: int | None = -1  # frames that the container states; -1: as many as there are
    exact: bool = True


class FilmReader:
    """What `open_video` gives of a film; counts what was read of it."""

    def __init__(self, path: Path, film: Film, cinema: Cinema) -> None:
        self.path, self.film, self.cinema = path, film, cinema
        self.warnings: list[str] = []
        self.restarts: list[int] = []
        frames = film.count if film.promised == -1 else film.promised
        seconds = frames / film.fps if film.fps and frames is not None else None
        self.info = VideoInfo(frames=frames, exact=film.exact, fps=film.fps, size=film.size, duration_s=seconds)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        for index in range(start, self.film.count if stop is None else stop):
            if index == self.film.fails_at:
                raise VideoError(f"{self.path}: damaged")
            if index == self.film.breaks_at:
                raise ZeroDivisionError("a fault of the program")
            if index in self.film.lost:
                continue
            self.cinema.decoded.append((self.path.name, index))
            value = self.film.base + index
            image = np.full((*self.film.size, 3), value % 256, np.uint8)
            yield Frame(index, index / self.film.fps if self.film.fps else None, image)
        if self.film.truncated:
            self.warnings.append(f"{self.path}: truncated")

    def thinned(self, every_s: float) -> Iterator[Frame]:
        step = round(every_s * (self.film.fps or 1))
        return (frame for frame in self.frames() if frame.index % step == 0)

    def times(self) -> list[float | None]:
        every = range(self.film.count)
        return [None if i in self.film.lost or not self.film.fps else i / self.film.fps for i in every]

    def __enter__(self) -> FilmReader:
        self.cinema.open.append(self.path.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.cinema.open.remove(self.path.name)


class Cinema:
    """Films by the names of their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.films: dict[str, Film] = {}
        self.decoded: list[tuple[str, int]] = []
        self.open: list[str] = []

    def film(self, name: str, *, labels: object = None, group: str | None = None, **more: object) -> Item:
        """A new film as a video of a dataset."""
        path = self.folder / f"{name}.mp4"
        path.write_text(name)
        self.films[path.name] = Film(**more)
        return video(path, name=name, frame_labels=None if labels is None else np.array(labels, np.uint8), group=group)

    def open_video(self, path: Path, **_: object) -> FilmReader:
        """Stands in for sources.video.open_video."""
        if self.films[path.name].unreadable:
            raise VideoError(f"{path}: no video stream")
        return FilmReader(path, self.films[path.name], self)
