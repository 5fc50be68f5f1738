"""A cursor in an open video file: decodes forward and moves to any frame by its number."""

from __future__ import annotations

import heapq
import sys
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

from offnormal.sources.container import (
    all_packets,
    has_clock,
    has_usable_times,
    longest_step,
    mean_rate,
    open_container,
    packets,
)

PROBED_FRAMES = 64  # frames that show whether each packet contains one
_SEEK_DISTANCE = 8  # frames; decoding up to this many is cheaper than seeking
_SEEK_ATTEMPTS = 3  # keyframes to try before decoding from the start of the file


class FrameNumbering:
    """Numbers the frames of a stream that is decoded from its start.

    The number of a frame is the rank of its presentation time among the packets' times, starting at the first frame
    that can be decoded. Reading in order and reading after a seek then give the same numbers, and a damaged frame
    leaves a gap instead of shifting later frames against their labels. If an early packet yields neither a frame nor
    an error, packets and frames do not match one to one, and frames are counted instead. Memory grows with the
    reordering depth only.

    counts_only: count from the start; the times are useless. one_per_packet: each packet contains exactly one frame.
    """

    def __init__(self, *, counts_only: bool = False, one_per_packet: bool = False) -> None:
        self.next = 0  # number of the next frame
        self.missing = 0  # frames skipped without a decoder error
        self._counts_only = counts_only
        self._one_per_packet = one_per_packet
        self._newest: int | None = None  # time of the packets
        self._last: int | None = None  # time of the frames
        self._pending: list[int] = []
        self._failed: set[int] = set()

    def add_packet(self, pts: int | None, *, key: bool) -> None:
        """Record a packet that enters the decoder."""
        if pts is None or (key and self._newest is not None and pts <= self._newest):
            self._counts_only = True  # no time, or a clock that restarts
        if self._counts_only or pts is None:
            self._pending.clear()
            return
        self._newest = pts if self._newest is None else max(pts, self._newest)
        heapq.heappush(self._pending, pts)

    def add_failure(self, pts: int | None) -> None:
        """Record a packet that the decoder rejected."""
        if pts is not None and not self._counts_only:
            self._failed.add(pts)

    def number_frame(self, pts: int | None) -> int:
        """Return the number of the next decoded frame, in presentation order."""
        lost = self._skip_packets(pts)
        number = self.next if self._last is None else self.next + lost  # packets before the first frame do not count
        self._last = pts
        self.next = number + 1
        return number

    def _skip_packets(self, pts: int | None) -> int:
        if pts is None or (self._last is not None and pts <= self._last):
            self._counts_only = True
        skipped = []
        while not self._counts_only and self._pending and pts is not None and self._pending[0] <= pts:
            skipped.append(heapq.heappop(self._pending))
        silent = sum(time != pts and time not in self._failed for time in skipped)
        self._failed.difference_update(skipped)
        if self._last is None:
            return 0
        if silent and self.next < PROBED_FRAMES and not self._one_per_packet:
            self._counts_only = True
            return 0
        self.missing += silent
        return sum(time != pts for time in skipped)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Presentation times of all frames of a file, and the keyframes at which decoding can start."""

    pts: np.ndarray  # (T,) int64, ascending
    sizes: np.ndarray  # (T,) int64, bytes of the packet of each frame
    keys: Sequence[int]  # numbers of the keyframes, ascending
    base: Fraction  # seconds per step of `pts`

    def number(self, pts: int | None) -> int | None:
        """Return the number of the frame with this time; None if there is none."""
        if pts is None:
            return None
        at = int(np.searchsorted(self.pts, pts))
        return at if at < len(self.pts) and self.pts[at] == pts else None

    def matches(self, pts: int | None, size: int, *, key: bool) -> bool:
        """Whether a packet read after a seek is the one that has this time when read in order.

        Where packets share a timestamp, as in MPEG program streams, they get other times after a seek.
        """
        if pts is not None and pts < self.pts[0]:
            return True
        number = self.number(pts)
        return number is not None and self.sizes[number] == size and (number in self.keys_until(number)[-1:]) == key

    def time_s(self, number: int) -> float:
        """Return the seconds from the first frame to this one."""
        return float(int(self.pts[number] - self.pts[0]) * self.base)

    def keys_until(self, number: int) -> Sequence[int]:
        """Return the keyframes up to a frame, ascending."""
        return self.keys[: bisect_right(self.keys, number)]


def build_timeline(
    packets: Iterable[tuple[int | None, bool, int]],
    probed: Sequence[tuple[int, int | None]],
    base: Fraction,
    longest_step: int = sys.maxsize,
) -> Timeline | None:
    """Build the timeline from all packets (time, key, size) of a file; None if frames must be counted.

    probed: numbers and times of the first frames, decoded in order; the timeline must agree with them.
    base: seconds per step of the times. longest_step: see `container.longest_step`.
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
    if len(ordered) != len(times) or first is None or (np.diff(ordered) > longest_step).any():
        return None
    in_order = slice(int(np.searchsorted(ordered, first)), None)
    ordered = ordered[in_order]
    starts = np.searchsorted(ordered, [key for key in keys if key >= first]).tolist()
    source_packets = Timeline(ordered, np.asarray(sizes, dtype=np.int64)[places][in_order], starts, base)
    return source_packets if all(source_packets.number(pts) == number for number, pts in probed) else None


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One decoded frame, not yet converted to RGB."""

    index: int
    time_s: float | None  # None: the file has no clock
    pts: int | None
    frame: av.VideoFrame
    restarts: bool = False  # the clock of the file goes back here; time_s continues


class Cursor:
    """Decodes a video file from a movable position; a context manager.

    warn: called with each problem. timeline: makes seeking possible; without it, moving back restarts the file. fps:
    the rate of a file without timestamps. Raises VideoError when the file cannot be opened.
    """

    def __init__(
        self, path: Path, warn: Callable[[str], None], timeline: Timeline | None = None, fps: float | None = None
    ) -> None:
        self._path, self._warn, self._timeline, self._fps = path, warn, timeline, fps
        self._peeked: DecodedFrame | None = None  # read, not yet returned
        self._decoded_frames: Iterator[DecodedFrame] = iter(())
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and warn of damaged frames."""
        self._decoded_frames = iter(())
        self.container.close()
        lost = self._failed + self._numbering.missing
        if lost or self._corrupt:
            unit = "frame" if lost == 1 else "frames"
            self._warn(f"damaged: {lost} {unit} could not be decoded and are skipped, {self._corrupt} show errors")

    def read(self) -> DecodedFrame | None:
        """Return the next frame; None at the end."""
        decoded, self._peeked = self._peeked or next(self._decoded_frames, None), None
        if decoded is not None:
            self._next = decoded.index + 1
        return decoded

    def move(self, index: int) -> None:
        """Move so that the next `read` returns frame `index`, or the first one after it if it is lost."""
        position = self._next if self._peeked is None else self._peeked.index
        if index == position:
            return
        keys = self._timeline.keys_until(index) if self._timeline is not None else ()
        should_seek = index < position or (bool(keys) and keys[-1] > position + _SEEK_DISTANCE)
        if should_seek and not (self._timeline is not None and self._seek(self._timeline, keys[-_SEEK_ATTEMPTS:])):
            self._restart()
        while (decoded := self.read()) is not None:
            if decoded.index >= index:
                self._peeked = decoded
                return

    def _start(self) -> None:
        self.container, self.stream = open_container(self._path)
        fixed_rate = None if self._fps is None else Fraction(self._fps)
        self.rate = mean_rate(self.stream) if has_clock(self.container) else fixed_rate
        one_per_packet = self.stream.codec_context.codec.intra_only  # in others a packet may hold one field or nothing
        counts_only = not has_usable_times(self.container, self.stream)
        self._numbering = FrameNumbering(counts_only=counts_only, one_per_packet=one_per_packet)
        self._failed = self._corrupt = 0  # packets that the decoder rejected; frames that it marks as corrupt
        self._peeked, self._next = None, 0
        self._decoded_frames = self._decode_in_order()

    def _restart(self) -> None:
        self.container.close()
        self._start()

    def _seek(self, timeline: Timeline, keys: Iterable[int]) -> bool:
        """Seek to the last of these keyframes that the container can reach; False if it reaches none."""
        for key in sorted(keys, reverse=True):
            try:
                self.container.seek(int(timeline.pts[key]), stream=self.stream)
            except FFmpegError:
                return False  # not seekable
            self._peeked, self._decoded_frames = None, self._decode_after_seek(timeline)
            decoded = self.read()
            if decoded is not None and decoded.index <= key:
                self._peeked = decoded
                return True
        return False

    def _decode_after_seek(self, timeline: Timeline) -> Iterator[DecodedFrame]:
        start: int | None = None
        position = 0
        source_packets = packets(self.container, self.stream, self._warn)
        for packet, frames, _ in self._decode(source_packets, from_key=True):
            if packet is not None and not (
                packet.is_discard or timeline.matches(packet.pts, packet.size, key=packet.is_keyframe)
            ):
                self._timeline = None  # times after a seek differ from those in order
                self._restart()
                yield from (decoded for decoded in self._decoded_frames if decoded.index >= position)
                return
            if start is None and packet is not None:
                start = packet.pts
            for frame in frames:
                number = timeline.number(frame.pts)
                if number is None or start is None or frame.pts is None or frame.pts < start:
                    continue  # displayed before the keyframe: its references were not decoded
                self._corrupt += frame.is_corrupt
                position = number + 1
                yield DecodedFrame(number, timeline.time_s(number), frame.pts, frame)

    def _decode_in_order(self) -> Iterator[DecodedFrame]:
        base, step = self.stream.time_base or Fraction(1), 1 / (self.rate or Fraction(1))
        timed, longest = has_usable_times(self.container, self.stream), longest_step(self.container)
        time, origin, last = -step, Fraction(0), None
        for packet, frames, rejected in self._decode(all_packets(self.container, self.stream, self._warn)):
            if packet is not None and not packet.is_discard:
                self._numbering.add_packet(packet.pts, key=packet.is_keyframe)
                if rejected:
                    self._numbering.add_failure(packet.pts)
            for frame in frames:
                pts = frame.pts if timed else None
                back = pts is not None and last is not None and (pts < last or pts - last > longest)
                if pts is None:
                    time += step
                else:
                    if last is None or pts <= last or back:  # the clock starts or restarts
                        origin = pts * base - (time + step)
                    time, last = pts * base - origin, pts
                self._corrupt += frame.is_corrupt
                time_s = float(time) if self.rate else None
                yield DecodedFrame(self._numbering.number_frame(pts), time_s, pts, frame, back)

    def _decode(
        self, source_packets: Iterable[Packet[VideoStream]], *, from_key: bool = False
    ) -> Iterator[tuple[Packet[VideoStream] | None, list[av.VideoFrame], bool]]:
        """Yield each packet, the frames it completed, and whether it was rejected; at the end None and the rest."""
        for packet in source_packets:
            if from_key and not packet.is_keyframe:
                continue
            from_key = False
            try:
                frames, rejected = self.stream.decode(packet), False
            except FFmpegError:
                frames, rejected = [], True
                self._failed += 1
            yield packet, frames, rejected
        try:
            frames = self.stream.decode(None)
        except FFmpegError:
            frames = []
        yield None, frames, False


def read_timeline(path: Path, warn: Callable[[str], None]) -> Timeline | None:
    """Read the timeline of a file from its packets and first frames; None if frames must be counted."""
    with Cursor(path, lambda _: None) as cursor:
        if not has_usable_times(cursor.container, cursor.stream):
            return None
        first = [(decoded.index, decoded.pts) for _ in range(PROBED_FRAMES) if (decoded := cursor.read()) is not None]
    container, stream = open_container(path)
    with container:
        stored = ((p.pts, p.is_keyframe, p.size) for p in all_packets(container, stream, warn) if not p.is_discard)
        return build_timeline(stored, first, stream.time_base or Fraction(1), longest_step(container))
