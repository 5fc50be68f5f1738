"""The one thread that computes, and how bundles share it, so that a slow one does not keep the others waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from offnormal.errors import OffnormalError

_SLICE_S = 0.25  # that one slice is to take where others wait
_NEWEST = 0.2  # share of the last slice in what a clip is said to take

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class ComputeThread(ThreadPoolExecutor):
    """The one thread for everything that torch computes.

    OpenMP keeps workers for every thread that has ever computed, and as soon as these are more than the processor has
    cores, libgomp puts each to sleep between two layers: two cores then do little more than one.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="compute")
        self._interrupted = threading.Event()

    def run(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """What a function returns or raises; where the user interrupts, `check` ends what still runs."""
        try:
            return self.submit(function, *args, **kwargs).result()
        except KeyboardInterrupt:
            self._interrupted.set()
            raise

    def check(self) -> None:
        """OffnormalError once the user has interrupted: nobody waits for the result any more."""
        if self._interrupted.is_set():
            raise OffnormalError("interrupted")


class TimeSlices:
    """Seconds that a clip of each bundle takes, and so how many clips fit in a slice.

    >>> slices = TimeSlices(bundles=2)
    >>> slices.clips("slow")
    1
    >>> slices.took("slow", 1, 0.05)
    >>> slices.clips("slow")
    5
    >>> slices.took("dear at first", 1, 0.2)  # much of which may not be the clip's
    >>> slices.clips("dear at first")
    2
    >>> TimeSlices(bundles=1).clips("alone") is None
    True
    """

    def __init__(self, bundles: int) -> None:
        self._alone = bundles < 2
        self._clip_s: dict[Hashable, float] = {}
        self._more: dict[Hashable, int] = {}  # clips that are tried after a slice that was short enough

    def clips(self, bundle: Hashable) -> int | None:
        """The most that may be scored at once, of an unknown bundle one; None: as many as there are."""
        if self._alone:
            return None
        took_s = self._clip_s.get(bundle)
        if took_s is None:
            return 1
        return max(1, int(_SLICE_S / max(took_s, 1e-6)), self._more.get(bundle, 1))

    def took(self, bundle: Hashable, clips: int, seconds: float) -> None:
        """Take in how long a slice of so many clips took."""
        if clips:
            last_s = seconds / clips
            self._clip_s[bundle] = last_s + (1 - _NEWEST) * (self._clip_s.get(bundle, last_s) - last_s)
            self._more[bundle] = clips + 1 if seconds < _SLICE_S else 1
