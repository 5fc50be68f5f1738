"""Normals to learn from and normals kept back, for validation and for the threshold: whole groups where there are."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from offnormal.errors import CalibrationError, DataError
from offnormal.types import Item

log = logging.getLogger(__name__)

_Unit = TypeVar("_Unit", bound=Hashable)


def number_kept_back(total: int, *, share: float, wanted: int, things: str = "images") -> int:
    """How many of so many normals are kept back: the share, or as many as a false-alarm rate needs.

    wanted: normals that the rate asked for needs, 0 without one. Raises DataError for fewer than two normals, and
    CalibrationError when the rate needs more than half of them.
    """
    if total < 2:
        raise DataError(
            f"{total} normal {things.removesuffix('s')}: at least 2 are needed, one to learn from and one kept back; "
            "hundreds are advised"
        )
    if wanted > total // 2:
        raise CalibrationError(
            f"the rate asked for needs {wanted} normal {things} kept back from learning, which may be half of them: "
            f"expected {2 * wanted}, got {total}. Add normal {things}, or ask for a higher rate"
        )
    return max(1, min(total - 1, round(share * total)), wanted)


def keep_back(sizes: Mapping[_Unit, int], count: int, *, seed: int) -> set[_Unit]:
    """Random units that together have `count` samples or, as units are not cut, a few more; at least one is left.

    sizes: unit -> samples in it, at least two units.
    """
    units = list(sizes)
    left = [units[number] for number in np.random.default_rng((seed, 1)).permutation(len(units))]
    kept: set[_Unit] = set()
    missing = count
    while missing > 0 and len(left) > 1:
        fitting = [unit for unit in left if sizes[unit] <= missing]
        chosen = fitting[0] if fitting else min(left, key=lambda unit: sizes[unit])
        left.remove(chosen)
        kept.add(chosen)
        missing -= sizes[chosen]
    return kept


def split_pictures(items: Sequence[Item], count: int, *, seed: int) -> tuple[list[Item], list[Item]]:
    """Items to learn from and about `count` kept back: whole groups where there are several, else at random."""
    groups = Counter(item.group for item in items)
    if None not in groups and len(groups) > 1:
        kept = keep_back(groups, count, seed=seed)
        return [i for i in items if i.group not in kept], [i for i in items if i.group in kept]
    if None not in groups:
        log.warning("all images are of one group (%s): those kept back are chosen one by one", next(iter(groups)))
    alone = keep_back(dict.fromkeys(range(len(items)), 1), count, seed=seed)
    learned = [item for number, item in enumerate(items) if number not in alone]
    return learned, [item for number, item in enumerate(items) if number in alone]


def last_stretches(stretches: Sequence[str], total: int, count: int) -> set[str]:
    """The last stretches of a single video of `total` samples that together have about `count`; one is left."""
    needed = math.ceil(count * len(stretches) / max(total, 1) - 1e-9)
    return set(stretches[-min(max(needed, 1), len(stretches) - 1) :])
