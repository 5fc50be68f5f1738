"""How many clips a bundle may have scored at once, so that a slow one does not keep the others waiting."""

from __future__ import annotations

from collections.abc import Hashable

_TURN_S = 0.25  # that one turn is to take where others wait
_NEWEST = 0.2  # share of the last turn in what a clip is said to take


class Turns:
    """Seconds that a clip of each bundle takes, and hence clips in a turn.

    >>> turns = Turns(bundles=2)
    >>> turns.clips("slow")
    1
    >>> turns.took("slow", 1, 0.05)
    >>> turns.clips("slow")
    5
    >>> turns.took("dear at first", 1, 0.2)  # much of which may not be the clip's
    >>> turns.clips("dear at first")
    2
    >>> Turns(bundles=1).clips("alone") is None
    True
    """

    def __init__(self, bundles: int) -> None:
        self._alone = bundles < 2
        self._clip_s: dict[Hashable, float] = {}
        self._more: dict[Hashable, int] = {}  # clips that are tried after a turn that was short enough

    def clips(self, bundle: Hashable) -> int | None:
        """The most that may be scored at once, of an unknown bundle one; None: as many as there are."""
        if self._alone:
            return None
        took_s = self._clip_s.get(bundle)
        if took_s is None:
            return 1
        return max(1, int(_TURN_S / max(took_s, 1e-6)), self._more.get(bundle, 1))

    def took(self, bundle: Hashable, clips: int, seconds: float) -> None:
        """Say how long a turn of so many clips took."""
        if clips:
            last_s = seconds / clips
            self._clip_s[bundle] = last_s + (1 - _NEWEST) * (self._clip_s.get(bundle, last_s) - last_s)
            self._more[bundle] = clips + 1 if seconds < _TURN_S else 1
