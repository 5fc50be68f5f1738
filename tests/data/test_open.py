import os

import pytest

from offnormal import registry
from offnormal.data.class_split import ClassChoice
from offnormal.data.dataset import Dataset
from offnormal.data.open import open_datasets
from offnormal.errors import ConfigError, DataError
from tests.data.footage import clip, write_video
from tests.data.tree import draw

MVTEC = ("train/good/1.png", "test/good/1.png", "test/hole/1.png")
GANOMALY = ("train/0.normal/1.png", "test/0.normal/1.png", "test/1.abnormal/1.png")


@pytest.mark.parametrize(
    ("names", "layout"),
    [(MVTEC, "mvtec"), (GANOMALY, "ganomaly"), (("1.png", "lot 2/2.png"), "folder"), (("good/1.png",), "folder")],
)
def test_layouts_are_recognized(tmp_path, names, layout):
    (dataset,) = open_datasets(draw(tmp_path, *names))
    assert dataset.layout == layout
    assert dataset.train


def test_a_video_is_a_dataset(tmp_path):
    (dataset,) = open_datasets(write_video(tmp_path / "hall.mp4"))
    assert dataset.is_video
    assert ([video.name for video in dataset.train], dataset.test) == (["hall"], ())


def test_videos_next_to_images_need_a_layout(tmp_path):
    write_video(draw(tmp_path, "1.png") / "how to.mp4")
    with pytest.raises(DataError, match=r"contains images and videos, such as how to\.mp4; choose one"):
        open_datasets(tmp_path)
    assert open_datasets(tmp_path, layout="folder")[0].layout == "folder"
    assert open_datasets(tmp_path, layout="videos")[0].layout == "videos"


def test_folders_of_videos_and_single_videos_are_opened(tmp_path):
    write_video(tmp_path / "days/1.mp4")
    (tmp_path / "new.csv").write_text("0\n1\n")
    (dataset,) = open_datasets(normal=tmp_path / "days", test=write_video(tmp_path / "new.mp4", 2), group_by="folder")
    assert dataset.is_video
    assert dataset.train[0].group == (tmp_path / "days").as_posix()
    assert dataset.test[0].frame_labels.tolist() == [0, 1]
    clip(tmp_path / "frames")
    assert open_datasets(normal=tmp_path / "frames")[0].layout == "folder"
    assert [video.name for video in open_datasets(normal=tmp_path / "frames", layout="videos")[0].train] == ["frames"]


def test_videos_that_overlap_are_rejected(tmp_path):
    write_video(tmp_path / "days/1.mp4")
    with pytest.raises(DataError, match="share videos"):
        open_datasets(normal=tmp_path / "days", test=tmp_path / "days/1.mp4")
    with pytest.raises(DataError, match="expected images; for videos"):
        open_datasets(test=tmp_path / "days", masks=tmp_path)
    with pytest.raises(DataError, match="gone: no such file or folder"):
        open_datasets(normal=tmp_path / "gone", layout="videos")


def test_a_named_layout_overrides_recognition(tmp_path):
    (dataset,) = open_datasets(draw(tmp_path, *MVTEC), layout="folder")
    assert (dataset.layout, len(dataset.train)) == ("folder", 3)
    with pytest.raises(DataError, match=r"expected ROOT/train/0\.normal"):
        open_datasets(tmp_path, layout="ganomaly")


def test_a_misspelled_layout_suggests_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'mvtec'"):
        open_datasets(draw(tmp_path, *MVTEC), layout="MVTecc")


def test_categories_are_opened_one_or_all(tmp_path):
    for category in ("screw", "bottle 10", "bottle 2"):
        draw(tmp_path / category, *MVTEC)
    assert [dataset.name for dataset in open_datasets(tmp_path, category="all")] == ["bottle 2", "bottle 10", "screw"]
    (dataset,) = open_datasets(tmp_path, category="screw")
    assert (dataset.name, dataset.category, dataset.root) == ("screw", "screw", tmp_path / "screw")
    with pytest.raises(DataError, match=r"3 categories \(bottle 2, bottle 10, screw\); choose one"):
        open_datasets(tmp_path)
    with pytest.raises(DataError, match="no category 'nut'; available: bottle 2"):
        open_datasets(tmp_path, category="nut")


@pytest.mark.parametrize("names", [MVTEC, GANOMALY, ("1.png",)])
def test_all_categories_of_a_single_category_are_rejected(tmp_path, names):
    with pytest.raises(DataError, match="a single category"):
        open_datasets(draw(tmp_path, *names), category="all")


def test_an_unknown_tree_is_described_with_the_options_that_read_it(tmp_path):
    draw(tmp_path, "train/fine/a.png", "train/fine/b.png", "valid/1.png")
    with pytest.raises(DataError) as error:
        open_datasets(tmp_path)
    for line in ("train/fine: 2 files (training)", "valid: 1 file (validation)", f"--normal {tmp_path / 'train'}"):
        assert line in str(error.value)


def test_a_tree_without_images_is_described_with_the_expected_trees(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError) as error:
        open_datasets(tmp_path)
    for part in ("notes/", "mvtec: CATEGORY/train/good", "ganomaly:", "folder:", "--layout", "--normal"):
        assert part in str(error.value)


def test_an_empty_folder_a_missing_one_and_a_file(tmp_path):
    with pytest.raises(DataError, match="no readable files"):
        open_datasets(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_datasets(tmp_path / "missing")
    with pytest.raises(DataError, match="not a folder"):
        open_datasets(draw(tmp_path, "1.png") / "1.png")


def test_plain_folders_are_opened(tmp_path):
    draw(tmp_path, "fine/1.png", "new/good/1.png", "new/hole/1.png")
    (dataset,) = open_datasets(normal=tmp_path / "fine", test=tmp_path / "new")
    assert [len(dataset.train), len(dataset.test)] == [1, 2]


@pytest.mark.parametrize("extra", ["normal", "test", "masks"])
def test_data_and_plain_folders_are_rejected(tmp_path, extra):
    with pytest.raises(DataError, match="--data with --normal"):
        open_datasets(draw(tmp_path, *MVTEC), **{extra: tmp_path})


@pytest.mark.parametrize("extra", [{"category": "screw"}, {"layout": "mvtec"}])
def test_plain_folders_with_layout_or_category_are_rejected(tmp_path, extra):
    with pytest.raises(DataError, match="need --data"):
        open_datasets(normal=draw(tmp_path, "1.png"), **extra)


def test_no_data_is_an_error_with_advice():
    with pytest.raises(DataError, match="expected --data DIR, or --normal DIR"):
        open_datasets()


def test_groups_are_set(tmp_path):
    draw(tmp_path, "lot1/a.png", "lot2/b.png")
    (dataset,) = open_datasets(tmp_path, group_by=r"lot\d")
    assert [sample.group for sample in dataset.train] == ["lot1", "lot2"]


@pytest.mark.skipif(os.sep == "\\", reason="backslashes are separators here")
def test_windows_paths_of_folders_are_resolved(tmp_path, monkeypatch):
    from pathlib import Path

    draw(tmp_path, "sets/bottle/train/good/1.png", "sets/new/1.png")
    monkeypatch.chdir(tmp_path)
    assert len(open_datasets(Path("sets\\bottle"))[0].train) == 1
    (dataset,) = open_datasets(normal=Path("sets\\bottle\\train"), test=Path("sets\\new"))
    assert [len(dataset.train), len(dataset.test)] == [1, 1]


@pytest.mark.parametrize("name", ["videos", "folder"])
def test_layouts_of_plug_ins_are_tried_before_general_ones(tmp_path, monkeypatch, name):
    class Frames:
        tree = "*.png"

        @staticmethod
        def recognizes(root):
            return True

        @staticmethod
        def read(root, category=None):
            return Dataset(name="frames", layout="frames", root=root)

    layouts = {**registry.resolve_all("layouts"), "frames": Frames}
    monkeypatch.setattr(registry, "resolve_all", lambda kind: layouts)
    names = ("train/01/1.png", "train/01/2.png") if name == "videos" else ("1.png", "2.png")
    assert open_datasets(draw(tmp_path, *names))[0].layout == "frames"


def test_a_normal_class_needs_a_dataset_with_classes(tmp_path):
    draw(tmp_path / "set", "train/good/1.png")
    with pytest.raises(DataError, match=r"--normal-class 3: the dataset in .*set has no classes"):
        open_datasets(tmp_path / "set", classes=ClassChoice(normal=("3",)))
    with pytest.raises(DataError, match="need --data"):
        open_datasets(normal=tmp_path / "set", classes=ClassChoice(normal=("3",)))
