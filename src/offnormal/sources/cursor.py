"""An open video file and a place in it: decoding forward, and moving to any picture by its number."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from offnormal.sources.container import all_packets, has_clock, keeps_time, mean_rate, open_container, packets

PROBED = 64  # pictures that show whether each packet holds one
_NEAR = 8  # pictures: going so far forward by decoding is cheaper than seeking
_TRIES = 3  # key pictures to begin at before decoding from the start of the file


class Numbers:
    """Numbers the pictures of a stream that is decoded from its start, in memory of the reordering depth.

    The number of a picture is the rank of its presentation time among the packets' times, from the first picture that
    can be decoded on. Reading in order and reading after a seek then give the same numbers, and a picture that was lost
    to damage leaves a gap instead of moving all that follow against their labels. Codecs whose packets do not each hold
    one picture show it soon: where a packet among the first ones gives neither a picture nor an error, pictures are
    counted.

    counting: times tell nothing from the start. one_each: each packet is known to hold one picture.
    """

    def __init__(self, *, counting: bool = False, one_each: bool = False) -> None:
        self.next = 0  # number of the next picture
        self.missing = 0  # pictures that were passed over without an error of the decoder
        self._counting = counting
        self._one_each = one_each
        self._newest: int | None = None  # of the packets
        self._last: int | None = None  # of the pictures
        self._waiting: list[int] = []
        self._failed: set[int] = set()

    def packet(self, pts: int | None, *, key: bool) -> None:
        """A packet goes into the decoder."""
        if pts is None or (key and self._newest is not None and pts <= self._newest):
            self._counting = True  # without a time, or with a clock that starts anew
        if self._counting or pts is None:
            self._waiting.clear()
            return
        self._newest = pts if self._newest is None else max(pts, self._newest)
        heapq.heappush(self._waiting, pts)

    def failure(self, pts: int | None) -> None:
        """The decoder refused a packet."""
        if pts is not None and not self._counting:
            self._failed.add(pts)

    def picture(self, pts: int | None) -> int:
        """The number of a picture that comes out of the decoder, in order of presentation."""
        lost = self._passed_over(pts)
        number = self.next if self._last is None else self.next + lost  # what precedes the first one was never there
        self._last = pts
        self.next = number + 1
        return number

    def _passed_over(self, pts: int | None) -> int:
        if pts is None or (self._last is not None and pts <= self._last):
            self._counting = True
        passed = []
        while not self._counting and self._waiting and pts is not None and self._waiting[0] <= pts:
            passed.append(heapq.heappop(self._waiting))
        silent = sum(each != pts and each not in self._failed for each in passed)
        self._failed.difference_update(passed)
        if self._last is None:
            return 0
        if silent and self.next < PROBED and not self._one_each:
            self._counting = True
            return 0
        self.missing += silent
        return sum(each != pts for each in passed)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The presentation times of all pictures of a file, and where decoding can begin."""

    pts: np.ndarray  # (T,) int64, ascending
    sizes: np.ndarray  # (T,) int64, bytes of the packet of each picture
    keys: Sequence[int]  # numbers of the key pictures, ascending
    base: Fraction  # seconds of one step of `pts`

    def number(self, pts: int | None) -> int | None:
        """The number of the picture with this time; None where there is none."""
        if pts is None:
            return None
        at = int(np.searchsorted(self.pts, pts))
        return at if at < len(self.pts) and self.pts[at] == pts else None

    def knows(self, pts: int | None, size: int, *, key: bool) -> bool:
        """Whether a packet met after a seek is the one that had this time before.

        Where packets share a time stamp, as in MPEG program streams, those after a seek get others than in order.
        """
        if pts is not None and pts < self.pts[0]:
            return True
        number = self.number(pts)
        return number is not None and self.sizes[number] == size and (number in self.keys_to(number)[-1:]) == key

    def time_s(self, number: int) -> float:
        """Seconds from the first picture to this one."""
        return float(int(self.pts[number] - self.pts[0]) * self.base)

    def keys_to(self, number: int) -> Sequence[int]:
        """The key pictures up to a picture, ascending."""
        return self.keys[: bisect_right(self.keys, number)]


def timeline(
    packets: Iterable[tuple[int | None, bool, int]], probed: Sequence[tuple[int, int | None]], base: Fraction
) -> Timeline | None:
    """The timeline that all packets (time, key, size) of a file tell; None where pictures must be counted.

    probed: numbers and times of the first pictures as decoding in order gave them, which the timeline must repeat.
    base: seconds of one step of the times.
    """
    times, sizes, keys = array("q"), array("q"), array("q")
    newest: int | None = None
    for pts, key, size in packets:
        if pts is None or (key and newest is not None and pts <= newest):
            return None
        newest = pts if newest is None else max(pts, newest)
        times.append(pts)
        sizes.append(size)
        if key:
            keys.append(pts)
    ordered, places = np.unique(np.asarray(times, dtype=np.int64), return_index=True)
    first = probed[0][1] if probed else None
    if len(ordered) != len(times) or first is None:
        return None
    kept = slice(int(np.searchsorted(ordered, first)), None)
    ordered = ordered[kept]
    starts = np.searchsorted(ordered, [key for key in keys if key >= first]).tolist()
    found = Timeline(ordered, np.asarray(sizes, dtype=np.int64)[places][kept], starts, base)
    return found if all(found.number(pts) == number for number, pts in probed) else None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture, not yet converted."""

    index: int
    time_s: float | None  # None: the file has no clock
    pts: int | None
    frame: av.VideoFrame
    restarts: bool = False  # the clock of the file goes back with it; its time goes on


class Cursor:
    """Decodes a video file from a place that can be moved; a context manager.

    warn: called with each trouble met. timeline: what makes seeking possible; without it moving back starts anew. fps:
    the rate of a file without a clock. Raises VideoError when the file cannot be opened.
    """

    def __init__(
        self, path: Path, warn: Callable[[str], None], timeline: Timeline | None = None, fps: float | None = None
    ) -> None:
        self._path, self._warn, self._timeline, self._fps = path, warn, timeline, fps
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
        given = None if self._fps is None else Fraction(self._fps)
        self.rate = mean_rate(self.stream) if has_clock(self.container) else given  # None: no clock
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
        base, step = self.stream.time_base or Fraction(1), 1 / (self.rate or Fraction(1))
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
                time_s = float(time) if self.rate else None
                yield Picture(self._numbers.picture(pts), time_s, pts, frame, back)

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
