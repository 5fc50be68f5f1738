"""An open video file and a place in it: decoding forward, and moving to any picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from offnormal.sources.container import all_packets, keeps_time, mean_rate, open_container, packets
from offnormal.sources.timeline import PROBED, Numbers, Timeline, timeline

_NEAR = 8  # pictures: going so far forward by decoding is cheaper than seeking
_TRIES = 3  # key pictures to begin at before decoding from the start of the file


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture, not yet converted."""

    index: int
    time_s: float
    pts: int | None
    frame: av.VideoFrame
    restarts: bool = False  # the clock of the file goes back with it; its time goes on


class Cursor:
    """Decodes a video file from a place that can be moved; a context manager.

    warn: called with each trouble met. timeline: what makes seeking possible; without it moving back starts anew.
    Raises VideoError when the file cannot be opened.
    """

    def __init__(self, path: Path, warn: Callable[[str], None], timeline: Timeline | None = None) -> None:
        self._path, self._warn, self._timeline = path, warn, timeline
        self._held: Picture | None = None  # read ahead
        self._pictures: Iterator[Picture] = iter(())
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file, and warn of the damage that was met."""
        self._pictures = iter(())
        self.container.close()
        lost = self._failed + self._numbers.missing
        if lost or self._flawed:
            self._warn(f"damaged: {lost} frames could not be decoded and are left out, {self._flawed} show errors")

    def read(self) -> Picture | None:
        """The next picture; None at the end."""
        picture, self._held = self._held or next(self._pictures, None), None
        if picture is not None:
            self._next = picture.index + 1
        return picture

    def move(self, index: int) -> None:
        """Go where the next `read` gives picture `index`, or the first one after it where that one is lost."""
        place = self._next if self._held is None else self._held.index
        if index == place:
            return
        keys = self._timeline.keys_to(index) if self._timeline is not None else ()
        worth = index < place or (bool(keys) and keys[-1] > place + _NEAR)
        if worth and not (self._timeline is not None and self._seek(self._timeline, keys[-_TRIES:])):
            self._restart()
        while (picture := self.read()) is not None:
            if picture.index >= index:
                self._held = picture
                return

    def _start(self) -> None:
        self.container, self.stream = open_container(self._path)
        one_each = self.stream.codec_context.codec.intra_only  # of others some packets hold a field, or nothing to show
        self._numbers = Numbers(counting=not keeps_time(self.container, self.stream), one_each=one_each)
        self._failed = self._flawed = 0  # packets that the decoder refused; pictures that it calls corrupt
        self._held, self._next = None, 0
        self._pictures = self._from_start()

    def _restart(self) -> None:
        self.container.close()
        self._start()

    def _seek(self, timeline: Timeline, keys: Iterable[int]) -> bool:
        """Decode from the last of these key pictures that the container really leads to; False where none is."""
        for key in sorted(keys, reverse=True):
            try:
                self.container.seek(int(timeline.pts[key]), stream=self.stream)
            except FFmpegError:
                return False  # a file that cannot seek
            self._held, self._pictures = None, self._after_seek(timeline)
            picture = self.read()
            if picture is not None and picture.index <= key:
                self._held = picture
                return True
        return False

    def _after_seek(self, timeline: Timeline) -> Iterator[Picture]:
        start: int | None = None
        place = 0
        found = packets(self.container, self.stream, self._warn)
        for packet, frames, _ in self._decoded(found, from_key=True):
            if packet is not None and not (
                packet.is_discard or timeline.knows(packet.pts, packet.size, key=packet.is_keyframe)
            ):
                self._timeline = None  # times after a seek are not those of reading in order
                self._restart()
                yield from (picture for picture in self._pictures if picture.index >= place)
                return
            if start is None and packet is not None:
                start = packet.pts
            for frame in frames:
                number = timeline.number(frame.pts)
                if number is None or start is None or frame.pts is None or frame.pts < start:
                    continue  # what follows a key picture but is shown before it needs what was not decoded
                self._flawed += frame.is_corrupt
                place = number + 1
                yield Picture(number, timeline.time_s(number), frame.pts, frame)

    def _from_start(self) -> Iterator[Picture]:
        base, step = self.stream.time_base or Fraction(1), 1 / mean_rate(self.stream)
        timed = keeps_time(self.container, self.stream)
        time, origin, last = -step, Fraction(0), None
        for packet, frames, refused in self._decoded(all_packets(self.container, self.stream, self._warn)):
            if packet is not None and not packet.is_discard:
                self._numbers.packet(packet.pts, key=packet.is_keyframe)
                if refused:
                    self._numbers.failure(packet.pts)
            for frame in frames:
                pts = frame.pts if timed else None
                back = pts is not None and last is not None and pts < last
                if pts is None:
                    time += step
                else:
                    if last is None or pts <= last:  # the clock starts, or starts anew
                        origin = pts * base - (time + step)
                    time, last = pts * base - origin, pts
                self._flawed += frame.is_corrupt
                yield Picture(self._numbers.picture(pts), float(time), pts, frame, back)

    def _decoded(
        self, found: Iterable[Packet[VideoStream]], *, from_key: bool = False
    ) -> Iterator[tuple[Packet[VideoStream] | None, list[av.VideoFrame], bool]]:
        """Each packet, the pictures that came out when it went in, whether it was refused; at the end, None."""
        for packet in found:
            if from_key and not packet.is_keyframe:
                continue
            from_key = False
            try:
                frames, refused = self.stream.decode(packet), False
            except FFmpegError:
                frames, refused = [], True
                self._failed += 1
            yield packet, frames, refused
        try:
            frames = self.stream.decode(None)
        except FFmpegError:
            frames = []
        yield None, frames, False


def survey(path: Path, warn: Callable[[str], None]) -> Timeline | None:
    """The timeline of a file from all its packets and its first pictures; None where pictures must be counted."""
    with Cursor(path, lambda _: None) as cursor:
        if not keeps_time(cursor.container, cursor.stream):
            return None
        first = [(picture.index, picture.pts) for _ in range(PROBED) if (picture := cursor.read()) is not None]
    container, stream = open_container(path)
    with container:
        found = ((p.pts, p.is_keyframe, p.size) for p in all_packets(container, stream, warn) if not p.is_discard)
        return timeline(found, first, stream.time_base or Fraction(1))
