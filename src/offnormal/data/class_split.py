"""Splits clips of several classes into training, calibration, and test sets.

All copies of one original go to the same split. Each normal class is divided separately with the same shares, so that
every normal class occurs in training and test. Clips of anomalous classes are used only for testing.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np

from offnormal.errors import DataError, counted
from offnormal.types import ANOMALOUS, NORMAL, Item

SplitName = Literal["train", "calibration", "test", "anomalous"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
Shares = tuple[float, float, float]  # percent: train, test, calibration
SHARES: Shares = (50, 40, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChoice:
    """The user's choice of normal classes, and how to split them."""

    normal: tuple[str, ...] = ()
    anomalous: tuple[str, ...] = ()
    shares: Shares = SHARES
    seed: int = 0

    @property
    def names_classes(self) -> bool:
        """Whether the user named any class."""
        return bool(self.normal or self.anomalous)

    def complete(self, available: Sequence[str], default: ClassChoice | None = None) -> ClassChoice:
        """Return the choice with both lists filled in.

        available: classes of the dataset. If only one list is named, the other gets all other classes; if both are,
        classes in neither are not used. default: the choice, limited to available classes, if no class is named.
        Raises DataError for unknown classes, a class in both lists, or no normal class.
        """
        if not self.names_classes and default is not None:
            normal, anomalous = (
                tuple(name for name in names if name in available) for names in (default.normal, default.anomalous)
            )
            return replace(self, normal=normal, anomalous=anomalous)
        if not self.names_classes:
            raise DataError(
                f"no normal class; expected --normal-class, or --anomalous-class for the other classes; "
                f"available: {', '.join(available)}"
            )
        normal, anomalous = (_match_names(names, available) for names in (self.normal, self.anomalous))
        if both := set(normal) & set(anomalous):
            raise DataError(f"{', '.join(sorted(both))}: both normal and anomalous; choose one")
        if not anomalous:
            anomalous = tuple(name for name in available if name not in normal)
        elif not normal:
            normal = tuple(name for name in available if name not in anomalous)
        if not normal:
            raise DataError(f"all {len(available)} classes are anomalous; training needs at least one normal class")
        return replace(self, normal=normal, anomalous=anomalous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The split of each clip, stored with a run, so that training clips are never used for testing."""

    layout: str
    classes: ClassChoice  # complete
    splits: Mapping[str, SplitName]  # by clip name
    groups: Mapping[str, str] = field(default_factory=dict)  # original of each clip, by clip name
    class_names: Mapping[str, str] = field(default_factory=dict)  # class of each clip, by clip name
    group_by: str | None = None  # expression that determined the originals; None: the layout did

    def assign(self, clips: Sequence[Item]) -> dict[SplitName, tuple[Item, ...]]:
        """Return the clips by split, labeled by class, without the clips of unused classes.

        A clip that was added later goes to the split of its original, or to the test split.
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
        """Parse the output of `to_json`; DataError for missing or unknown values."""
        try:
            clips, shares = values["clips"], values["shares"]
            unknown = {clip["split"] for clip in clips} - set(SPLITS)
            if unknown:
                raise DataError(f"unknown split {', '.join(map(str, sorted(unknown)))}; expected {', '.join(SPLITS)}")
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
            raise DataError(f"the split has no valid {error}; expected the file that offnormal fit wrote") from None


def split_clips(clips: Sequence[Item], classes: ClassChoice, *, layout: str, group_by: str | None = None) -> Split:
    """Split clips by their originals (`group`) at random with the seed, each normal class separately.

    classes: complete, see `ClassChoice.complete`. group_by: stored in the split.
    Raises DataError if one of the splits would be empty.
    """
    splits: dict[str, SplitName] = {}  # by original
    for name in classes.normal:
        originals = list(dict.fromkeys(_original(clip) for clip in clips if clip.class_name == name))
        free = [original for original in originals if original not in splits]  # an original may show several classes
        order = np.random.default_rng((classes.seed, zlib.crc32(name.encode()))).permutation(len(free))
        train, test, _ = split_counts(len(free), classes.shares)
        for rank, number in enumerate(order):
            splits[free[number]] = "train" if rank < train else "test" if rank < train + test else "calibration"
    for split in ("train", "calibration", "test"):
        if split not in splits.values():
            raise DataError(
                f"{counted(len(splits), 'original')} of normal classes ({', '.join(classes.normal)}): --split "
                f"{classes.shares[0]:g}/{classes.shares[1]:g}/{classes.shares[2]:g} leaves none for {split}; add "
                "clips, or change --split TRAIN/TEST/CALIBRATION. Copies of one original stay in one split"
            )
    used = [clip for clip in clips if clip.class_name in (*classes.normal, *classes.anomalous)]
    return Split(
        layout=layout,
        classes=classes,
        splits={
            clip.name: "anomalous" if clip.class_name in classes.anomalous else splits[_original(clip)] for clip in used
        },
        groups={clip.name: _original(clip) for clip in used},
        class_names={clip.name: clip.class_name for clip in used if clip.class_name is not None},
        group_by=group_by,
    )


def split_counts(originals: int, shares: Shares = SHARES) -> tuple[int, int, int]:
    """Return the number of originals of a class for training, test, and calibration.

    The training and test shares are rounded half to even. Calibration gets the remaining originals, or one from
    training if none remains. One original goes to training; of two, one goes to test and none to calibration.

    >>> [split_counts(number) for number in (4, 10, 11, 12, 17, 20)]
    [(1, 2, 1), (5, 4, 1), (6, 4, 1), (6, 5, 1), (8, 7, 2), (10, 8, 2)]
    >>> split_counts(2), split_counts(1)
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


def _match_names(names: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Return the names with the case of the dataset."""
    spellings = {name.casefold(): name for name in available}
    matches = []
    for name in names:
        if name.casefold() not in spellings:
            near = difflib.get_close_matches(name.casefold(), spellings, n=1)
            advice = f"did you mean {spellings[near[0]]!r}? " if near else ""
            raise DataError(f"unknown class {name!r}: {advice}available: {', '.join(available)}")
        matches.append(spellings[name.casefold()])
    return tuple(dict.fromkeys(matches))
