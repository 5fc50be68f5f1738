import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from offnormal.data.class_split import SPLITS, ClassChoice, Split, split_clips, split_counts
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.items import video

CHOICE = ClassChoice(normal=("run", "kick"), anomalous=("lift",))


def clips_of(counts, copies=1):
    """`counts` originals of each class with so many files each."""
    return [
        video(f"{action}/{i}_{k}.mp4", name=f"{action}/{i}_{k}", group=f"{action}/{i}", class_name=action)
        for action, number in counts.items()
        for i in range(number)
        for k in range(copies)
    ]


@pytest.mark.parametrize(
    ("originals", "train", "test", "calibration"),
    [(11, 6, 4, 1), (10, 5, 4, 1), (20, 10, 8, 2), (12, 6, 5, 1), (17, 8, 7, 2), (4, 1, 2, 1)],
)
def test_split_counts_are_those_of_the_published_exercise(originals, train, test, calibration):
    assert split_counts(originals) == (train, test, calibration)


@pytest.mark.parametrize("shares", [(50, 40, 10), (10, 80, 10), (80, 10, 10), (34, 33, 33), (1, 98, 1)])
def test_split_counts_use_every_original_once_and_leave_no_split_empty(shares):
    for number in range(3, 60):
        counts = split_counts(number, shares)
        assert sum(counts) == number
        assert min(counts) >= 1


def test_copies_of_an_original_stay_in_one_split():
    split = split_clips(clips_of({"run": 10, "kick": 7, "lift": 3}, copies=4), CHOICE, layout="class_folders")
    for original in set(split.groups.values()):
        assert len({split.splits[name] for name, group in split.groups.items() if group == original}) == 1
    assert Counter(split.splits.values())["anomalous"] == 12


def test_every_normal_class_is_split_separately():
    split = split_clips(clips_of({"run": 10, "kick": 20, "lift": 3}), CHOICE, layout="class_folders")
    counts = Counter((split.class_names[name], part) for name, part in split.splits.items())
    assert [counts["run", part] for part in SPLITS] == [5, 1, 4, 0]
    assert [counts["kick", part] for part in SPLITS] == [10, 2, 8, 0]


def test_the_split_depends_on_the_seed_but_not_on_other_classes():
    clips = clips_of({"run": 12, "kick": 12, "lift": 3})
    first = split_clips(clips, CHOICE, layout="class_folders")
    assert split_clips(clips, CHOICE, layout="class_folders") == first
    assert split_clips(clips, replace(CHOICE, seed=1), layout="class_folders").splits != first.splits
    alone = split_clips(clips, ClassChoice(normal=("run",), anomalous=("lift",)), layout="class_folders")
    assert {k: v for k, v in alone.splits.items() if k.startswith("run")} == {
        k: v for k, v in first.splits.items() if k.startswith("run")
    }


def test_a_split_survives_json():
    split = split_clips(clips_of({"run": 10, "kick": 7, "lift": 3}), CHOICE, layout="class_folders")
    assert Split.from_json(json.loads(json.dumps(split.to_json()))) == split


def test_a_damaged_split_is_rejected():
    values = split_clips(clips_of({"run": 10, "kick": 7, "lift": 3}), CHOICE, layout="class_folders").to_json()
    with pytest.raises(DataError, match="seed"):
        Split.from_json({key: value for key, value in values.items() if key != "seed"})
    values["clips"][0]["split"] = "learn"
    with pytest.raises(DataError, match="learn"):
        Split.from_json(values)


def test_new_clips_join_their_original_or_the_test_split():
    clips = clips_of({"run": 10, "kick": 7, "lift": 3})
    split = split_clips(clips, CHOICE, layout="class_folders")
    train_clip = next(clip for clip in clips if split.splits[clip.name] == "train")
    copy, new = replace(train_clip, name="copy"), replace(train_clip, name="new", group="run/new")
    parts = split.assign([*clips, copy, new])
    assert "copy" in {clip.name for clip in parts["train"]}
    assert "new" in {clip.name for clip in parts["test"]}
    assert {clip.label for clip in parts["test"]} == {NORMAL}
    assert {clip.label for clip in parts["anomalous"]} == {ANOMALOUS}


def test_the_remaining_classes_fill_the_list_that_is_not_named():
    available = ["run", "kick", "lift"]
    assert ClassChoice(normal=("RUN",)).complete(available).anomalous == ("kick", "lift")
    assert ClassChoice(anomalous=("lift",)).complete(available).normal == ("run", "kick")
    both = ClassChoice(normal=("run",), anomalous=("lift",)).complete(available)
    assert (both.normal, both.anomalous) == (("run",), ("lift",))
    default = ClassChoice(normal=("run", "swim"), anomalous=("lift",))
    assert ClassChoice(seed=3).complete(available, default) == ClassChoice(normal=("run",), anomalous=("lift",), seed=3)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (ClassChoice(), "no normal class"),
        (ClassChoice(normal=("kik",)), "did you mean 'kick'"),
        (ClassChoice(normal=("run",), anomalous=("run",)), "both normal and anomalous"),
        (ClassChoice(anomalous=("run", "kick", "lift")), "at least one normal class"),
    ],
)
def test_invalid_classes_are_rejected(choice, message):
    with pytest.raises(DataError, match=message):
        choice.complete(["run", "kick", "lift"])


def test_too_few_originals_are_rejected():
    with pytest.raises(DataError, match="leaves none for calibration"):
        split_clips(clips_of({"run": 2, "kick": 2, "lift": 1}), CHOICE, layout="class_folders")


def test_splits_are_random():
    split = split_clips(clips_of({"run": 40, "kick": 3}), replace(CHOICE, anomalous=()), layout="class_folders")
    order = np.array([split.splits[f"run/{i}_0"] == "train" for i in range(40)])
    assert 0 < order[:20].sum() < 20
