"""Split normals into training and held-out ones (for validation and the threshold), by whole groups if possible."""

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


def count_held_out(total: int, *, share: float, needed: int, noun: str = "images") -> int:
    """Return how many of `total` normals to hold out: the share, or as many as the false-alarm rate needs.

    needed: normals that the requested rate needs, 0 without one. Raises DataError for fewer than two normals, and
    CalibrationError if the rate needs more than half of them.
    """
    if total < 2:
        raise DataError(
            f"{total} normal {noun if total != 1 else noun.removesuffix('s')} found; expected at least 2, one to "
            f"train on and one to hold out. Add normal {noun}; 100 or more are advised"
        )
    if needed > total // 2:
        raise CalibrationError(
            f"the requested rate needs {needed} held-out normal {noun}, which may be at most half of all: expected "
            f"{2 * needed}, found {total}. Add normal {noun}, or request a higher rate"
        )
    return max(1, min(total - 1, round(share * total)), needed)


def choose_held_out(sizes: Mapping[_Unit, int], count: int, *, seed: int) -> set[_Unit]:
    """Choose random whole units with `count` samples in total, or slightly more; at least one unit is not chosen.

    sizes: unit -> its number of samples, for at least two units.
    """
    units = list(sizes)
    remaining = [units[number] for number in np.random.default_rng((seed, 1)).permutation(len(units))]
    chosen_units: set[_Unit] = set()
    missing = count
    while missing > 0 and len(remaining) > 1:
        fitting = [unit for unit in remaining if sizes[unit] <= missing]
        unit = fitting[0] if fitting else min(remaining, key=lambda unit: sizes[unit])
        remaining.remove(unit)
        chosen_units.add(unit)
        missing -= sizes[unit]
    return chosen_units


def split_images(items: Sequence[Item], count: int, *, seed: int) -> tuple[list[Item], list[Item]]:
    """Split items into training items and about `count` held-out ones: by whole groups if there are several."""
    groups = Counter(item.group for item in items)
    if None not in groups and len(groups) > 1:
        held_out = choose_held_out(groups, count, seed=seed)
        return [i for i in items if i.group not in held_out], [i for i in items if i.group in held_out]
    if None not in groups:
        log.warning("all images are in one group (%s): held-out images are chosen individually", next(iter(groups)))
    held_out_numbers = choose_held_out(dict.fromkeys(range(len(items)), 1), count, seed=seed)
    training = [item for number, item in enumerate(items) if number not in held_out_numbers]
    return training, [item for number, item in enumerate(items) if number in held_out_numbers]


def choose_last_stretches(stretches: Sequence[str], total: int, count: int) -> set[str]:
    """Choose the last stretches of a video, with about `count` of its `total` samples; never the first stretch."""
    needed = math.ceil(count * len(stretches) / max(total, 1) - 1e-9)
    return set(stretches[-min(max(needed, 1), len(stretches) - 1) :])
