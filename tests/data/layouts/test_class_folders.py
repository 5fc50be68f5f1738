import pytest

from offnormal.data.class_split import ClassChoice
from offnormal.data.layouts.class_folders import ClassFoldersLayout, class_clips
from offnormal.data.layouts.ucf_sports import UcfSportsLayout
from offnormal.data.open import open_datasets
from offnormal.data.reuse import content_keys
from offnormal.errors import DataError
from tests.actions import NORMAL, write_actions


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return write_actions(tmp_path_factory.mktemp("sets") / "ucf action")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_the_official_tree_is_recognized_and_views_are_merged(official):
    assert UcfSportsLayout.recognizes(official)
    assert UcfSportsLayout.recognizes(official.parent)  # as the archive unpacks
    (dataset,) = open_datasets(official)
    assert dataset.layout == "ucf_sports"
    assert {clip.class_name for clip in dataset.train} == set(NORMAL)
    assert {clip.class_name for clip in dataset.test if clip.label == 1} == {"Lifting", "Walk-Front"}
    clips = (*dataset.train, *dataset.calibration, *dataset.test)
    assert len(clips) == 35  # neither jpeg nor gt are clips
    assert {clip.path.suffix for clip in clips} == {".avi", ".mp4"}
    kicks = {clip.name.split("/")[0] for clip in clips if clip.class_name == "Kicking"}
    assert kicks == {"Kicking-Front", "Kicking-Side"}


def test_frames_replace_a_missing_video(tmp_path):
    root = touch(
        tmp_path,
        *(f"Run-Side/{i:03}/jpeg/f{k}.jpg" for i in range(1, 3) for k in range(3)),
        "Run-Side/001/a.avi",
        "Lifting/001/f1.jpg",
        "Lifting/001/gt/f1.txt",
    )
    dataset = {clip.name: clip.group for clip in UcfSportsLayout.clips(root)}
    assert dataset == {
        "Run-Side/001/a": "Run-Side/001",
        "Run-Side/002/jpeg": "Run-Side/002",
        "Lifting/001": "Lifting/001",
    }


def test_the_only_clip_of_a_class_is_read_without_its_frames(tmp_path):
    root = touch(tmp_path, "Run-Side/001/a.avi", "Run-Side/001/jpeg/a1.jpg")
    assert [clip.name for clip in class_clips(root)] == ["Run-Side/001/a"]


def test_files_of_one_original_share_a_group(tmp_path):
    root = touch(
        tmp_path, "kick/a.avi", "kick/a.mp4", "kick/a_aug1.mp4", "kick/a-flipped_aug2.mp4", "kick/a (2).mp4",
        "kick/b.mp4", "run/v_Run_g01_c01.avi", "run/v_Run_g01_c02.avi", "run/v_Run_g02_c01.avi",
    )  # fmt: skip
    groups = {}
    for clip in class_clips(root):
        groups.setdefault(clip.group, set()).add(clip.path.name)
    assert {name: len(names_in_group) for name, names_in_group in groups.items()} == {
        "kick/a": 5, "kick/b": 1, "run/v_Run_g01": 2, "run/v_Run_g02": 1,
    }  # fmt: skip
    names = [clip.name for clip in class_clips(root)]
    assert len(set(names)) == len(names)


def test_named_classes_choose_class_folders(tmp_path):
    names = [f"{action}/{i}.mp4" for action in ("walk", "run", "fight") for i in range(5)]
    root = touch(tmp_path, *names)
    assert not ClassFoldersLayout.recognizes(root)
    with pytest.raises(DataError, match=r"fight: 5 files \(anomalous\)(.|\n)*--anomalous-class fight"):
        open_datasets(root)
    assert open_datasets(root, layout="videos")[0].layout == "videos"
    (dataset,) = open_datasets(root, classes=ClassChoice(anomalous=("fight",)))
    assert dataset.layout == "class_folders"
    assert {clip.class_name for clip in dataset.train} == {"walk", "run"}
    with pytest.raises(DataError, match="--normal-class"):
        open_datasets(root, layout="class_folders")
    with pytest.raises(DataError, match="has no classes"):
        open_datasets(root, layout="videos", classes=ClassChoice(anomalous=("fight",)))


def test_custom_groups_stay_in_one_split(tmp_path):
    root = touch(tmp_path, *(f"run/cam{i // 3}_{i}.mp4" for i in range(30)), "fight/cam0_1.mp4")
    (dataset,) = open_datasets(root, classes=ClassChoice(anomalous=("fight",)), group_by=r"cam(\d+)")
    assert not {clip.group for clip in dataset.train} & {clip.group for clip in (*dataset.calibration, *dataset.test)}
    assert len({clip.group for clip in dataset.train}) == 5


def test_an_existing_split_is_reused(official):
    (first,) = open_datasets(official, classes=ClassChoice(seed=5))
    (again,) = open_datasets(official, split=first.split)
    for split in ("train", "calibration", "test"):
        assert [clip.name for clip in getattr(again, split)] == [clip.name for clip in getattr(first, split)]
    assert again.fingerprint() == first.fingerprint()
    with pytest.raises(DataError, match=r"split\.json"):
        open_datasets(official, split=first.split, classes=ClassChoice(normal=("Run-Side",)))


def test_a_clip_outside_a_class_folder_is_rejected(tmp_path):
    with pytest.raises(DataError, match="without a class"):
        class_clips(touch(tmp_path, "a.mp4", "run/b.mp4"))


def test_fingerprints_depend_on_classes(official):
    (first,) = open_datasets(official)
    (changed,) = open_datasets(official, classes=ClassChoice(normal=(*NORMAL, "Lifting")))
    assert first.fingerprint("test") != changed.fingerprint("test")
    items = [*first.train, *first.calibration]
    assert len(content_keys(items)) == len(items)
