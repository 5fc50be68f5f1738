"""Clips of several classes -> those learned from, those the threshold is set with, those tested on.

Whole originals go to one split, never copies of them apart from each other; every normal class is divided for itself in
the same shares, so that each is learned from and tested on. Clips of anomalous classes are tested on alone.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np

from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL, Item

SplitName = Literal["train", "calibration", "test", "anomalous"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
Shares = tuple[float, float, float]  # per cent: train, test, calibration
SHARES: Shares = (50, 40, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChoice:
    """Which classes are normal and how they are to be divided, as a user says it."""

    normal: tuple[str, ...] = ()
    anomalous: tuple[str, ...] = ()
    shares: Shares = SHARES
    seed: int = 0

    @property
    def named(self) -> bool:
        """Whether any class is named."""
        return bool(self.normal or self.anomalous)

    def among(self, known: Sequence[str], default: ClassChoice | None = None) -> ClassChoice:
        """The same with every class that there is to take.

        known: classes of the dataset. With one side named, all others are on the other; with both, what is not named
        is left out. default: whose classes are taken, as far as there are any, when none is named.
        Raises DataError for unknown classes, one that is on both sides, or none to learn from.
        """
        if not self.named and default is not None:
            normal, anomalous = (tuple(c for c in side if c in known) for side in (default.normal, default.anomalous))
            return replace(self, normal=normal, anomalous=anomalous)
        if not self.named:
            raise DataError(
                f"no normal class was named: use --normal-class, or --anomalous-class for the others; "
                f"there are {', '.join(known)}"
            )
        normal, anomalous = (_known(side, known) for side in (self.normal, self.anomalous))
        if both := set(normal) & set(anomalous):
            raise DataError(f"{', '.join(sorted(both))}: named as normal and as anomalous; choose one")
        if not anomalous:
            anomalous = tuple(name for name in known if name not in normal)
        elif not normal:
            normal = tuple(name for name in known if name not in anomalous)
        if not normal:
            raise DataError(f"all {len(known)} classes are named as anomalous: none is left to learn from")
        return replace(self, normal=normal, anomalous=anomalous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which clip belongs to which split: kept with a run, so that what was learned from is never tested on."""

    layout: str
    classes: ClassChoice  # complete
    splits: Mapping[str, SplitName]  # by the name of the clip
    groups: Mapping[str, str] = field(default_factory=dict)  # the original of each clip, by its name
    class_names: Mapping[str, str] = field(default_factory=dict)  # its class
    group_by: str | None = None  # the expression that named the originals; None: the layout did

    def of(self, clips: Sequence[Item]) -> dict[SplitName, tuple[Item, ...]]:
        """The clips by split, labeled by their class; those of classes that are left out are in none.

        A clip that was not there when the split was made goes with its original, or else is tested on.
        """
        normal, anomalous = self.classes.normal, self.classes.anomalous
        normal_clips = {name: split for name, split in self.splits.items() if split != "anomalous"}
        by_group = {self.groups[name]: split for name, split in normal_clips.items() if name in self.groups}
        items: dict[SplitName, list[Item]] = {split: [] for split in SPLITS}
        for clip in clips:
            if clip.class_name in normal:
                split = self.splits.get(clip.name) or by_group.get(clip.group or clip.name, "test")
                items[split].append(replace(clip, label=NORMAL))
            elif clip.class_name in anomalous:
                items["anomalous"].append(replace(clip, label=ANOMALOUS))
        return {split: tuple(clips) for split, clips in items.items()}

    def to_json(self) -> dict[str, object]:
        """Plain values for split.json."""
        chosen = self.classes
        return {
            "layout": self.layout,
            "normal_classes": list(chosen.normal),
            "anomalous_classes": list(chosen.anomalous),
            "shares": dict(zip(("train", "test", "calibration"), chosen.shares, strict=True)),
            "seed": chosen.seed,
            "group_by": self.group_by,
            "clips": [
                {"clip": name, "class": self.class_names.get(name), "original": self.groups.get(name), "split": split}
                for name, split in self.splits.items()
            ],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The split of `to_json`; DataError when something of it is missing or unknown."""
        try:
            clips, shares = values["clips"], values["shares"]
            wrong = {clip["split"] for clip in clips} - set(SPLITS)
            if wrong:
                raise DataError(f"unknown split {', '.join(map(str, sorted(wrong)))}")
            return cls(
                layout=values["layout"],
                classes=ClassChoice(
                    normal=tuple(values["normal_classes"]),
                    anomalous=tuple(values["anomalous_classes"]),
                    shares=(shares["train"], shares["test"], shares["calibration"]),
                    seed=values["seed"],
                ),
                splits={clip["clip"]: clip["split"] for clip in clips},
                groups={clip["clip"]: clip["original"] for clip in clips if clip["original"] is not None},
                class_names={clip["clip"]: clip["class"] for clip in clips if clip["class"] is not None},
                group_by=values.get("group_by"),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"the split lacks {error}, or it is not what offnormal fit wrote") from None


def split_clips(clips: Sequence[Item], classes: ClassChoice, *, layout: str, group_by: str | None = None) -> Split:
    """Divide clips by their originals (`group`), each normal class for itself, at random as the seed says.

    classes: complete, see `ClassChoice.among`. group_by: what named the originals, to be kept.
    Raises DataError when nothing is left for one of the splits.
    """
    splits: dict[str, SplitName] = {}  # by original
    for name in classes.normal:
        own = list(dict.fromkeys(_original(clip) for clip in clips if clip.class_name == name))
        free = [original for original in own if original not in splits]  # one may show several activities
        order = np.random.default_rng((classes.seed, zlib.crc32(name.encode()))).permutation(len(free))
        train, test, _ = portions(len(free), classes.shares)
        for place, number in enumerate(order):
            splits[free[number]] = "train" if place < train else "test" if place < train + test else "calibration"
    for split in ("train", "calibration", "test"):
        if split not in splits.values():
            raise DataError(
                f"{len(splits)} originals of normal classes ({', '.join(classes.normal)}) leave none for {split} at "
                f"{classes.shares[0]:g}/{classes.shares[1]:g}/{classes.shares[2]:g} (train/test/calibration): give "
                "more clips, or other --split; clips of one original are never parted"
            )
    taken = [clip for clip in clips if clip.class_name in (*classes.normal, *classes.anomalous)]
    return Split(
        layout=layout,
        classes=classes,
        splits={
            clip.name: "anomalous" if clip.class_name in classes.anomalous else splits[_original(clip)]
            for clip in taken
        },
        groups={clip.name: _original(clip) for clip in taken},
        class_names={clip.name: clip.class_name for clip in taken if clip.class_name is not None},
        group_by=group_by,
    )


def portions(originals: int, shares: Shares = SHARES) -> tuple[int, int, int]:
    """How many originals of a class are learned from, tested on and kept back.

    Shares of learning and testing are rounded, halves to even; the rest is kept back, one original at least, taken from
    those learned from. Of one original nothing is tested, of two nothing kept back.

    >>> [portions(number) for number in (4, 10, 11, 12, 17, 20)]
    [(1, 2, 1), (5, 4, 1), (6, 4, 1), (6, 5, 1), (8, 7, 2), (10, 8, 2)]
    >>> portions(2), portions(1)
    ((1, 1, 0), (1, 0, 0))
    """
    if originals < 3:
        return min(originals, 1), max(originals - 1, 0), 0
    train, test = (round(originals * share / 100) for share in shares[:2])
    test = min(max(test, 1), originals - 2)
    train = min(max(train, 1), originals - test - 1)
    return train, test, originals - train - test


def _original(clip: Item) -> str:
    return clip.group if clip.group is not None else clip.name


def _known(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names as the dataset writes them."""
    written = {name.casefold(): name for name in known}
    found = []
    for name in names:
        if name.casefold() not in written:
            near = difflib.get_close_matches(name.casefold(), written, n=1)
            advice = f"did you mean {written[near[0]]!r}? " if near else ""
            raise DataError(f"no class is called {name!r}: {advice}there are {', '.join(known)}")
        found.append(written[name.casefold()])
    return tuple(dict.fromkeys(found))
