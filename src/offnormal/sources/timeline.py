"""Which picture of a video file is which: numbers by presentation time, learnt from packets without decoding them.

The number of a picture is the rank of its presentation time among the packets' times, from the first picture that can
be decoded on. Reading in order and reading after a seek then give the same numbers, and a picture that was lost to
damage leaves a gap instead of moving all that follow against their labels. Codecs whose packets do not each hold one
picture show it soon: where a packet among the first ones gives neither a picture nor an error, pictures are counted.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

PROBED = 64  # pictures that show whether each packet holds one


class Numbers:
    """Numbers the pictures of a stream that is decoded from its start, in memory of the reordering depth.

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
