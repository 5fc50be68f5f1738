import shutil

import numpy as np
import pytest

from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.ucsd import UcsdLayout
from offnormal.errors import DataError
from tests.data.footage import clip

SCRIPT = "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\nTestVideoFile{end+1}.gt_frame = [1:1, 6:6];\n"


def ped(root, script=SCRIPT):
    """Write one of the two datasets: 6 frames per clip, masks of the second test clip, and unrelated files."""
    for name in ("Train/Train001", "Train/Train002", "Test/Test001", "Test/Test002"):
        clip(root / name)
    clip(root / "Test/Test002_gt", suffix=".bmp", marked=range(2, 4))
    for name in ("Test/.DS_Store", "Test/Test001/.DS_Store", "Test/Test002/._001.tif", "Train/notes.txt"):
        (root / name).touch()
    clip(root / "Test/Test001/Train", 2)
    (root / "Test/Test017/Train").mkdir(parents=True)
    if script:
        (root / "Test" / f"{root.name}.m").write_text(script)
    return root


def test_a_single_category_is_read(tmp_path):
    root = ped(tmp_path / "UCSDped1")
    assert UcsdLayout.recognizes(root)
    assert UcsdLayout.categories(root) == []
    dataset = UcsdLayout.read(root)
    assert (dataset.name, dataset.layout, dataset.root, dataset.category) == ("UCSDped1", "ucsd", root, None)
    assert [video.name for video in dataset.train] == ["Train001", "Train002"]
    assert [video.frame_labels for video in dataset.train] == [None, None]
    assert {video.name: video.frame_labels.tolist() for video in dataset.test} == {
        "Test001": [0, 1, 1, 0, 0, 0],
        "Test002": [1, 0, 0, 0, 0, 1],  # those of the script, not of the masks
    }
    assert dataset.test[0].masks is None
    with open_masks(dataset.test[1].masks) as masks:
        assert [mask.any() for mask in masks] == [False, False, True, True, False, False]


@pytest.mark.parametrize("inner", ["", "UCSD_Anomaly_Dataset.v1p2"])
def test_the_whole_dataset_has_two_categories(tmp_path, inner):
    for name in ("UCSDped1", "UCSDped2"):
        ped(tmp_path / inner / name)
    assert UcsdLayout.recognizes(tmp_path)
    assert UcsdLayout.categories(tmp_path) == ["UCSDped1", "UCSDped2"]
    dataset = UcsdLayout.read(tmp_path, "UCSDped2")
    assert (dataset.name, dataset.category, dataset.root) == ("UCSDped2", "UCSDped2", tmp_path / inner / "UCSDped2")
    with pytest.raises(DataError, match=r"2 categories \("):
        UcsdLayout.read(tmp_path)


def test_without_the_script_frames_with_a_marked_pixel_are_anomalous(tmp_path):
    dataset = UcsdLayout.read(ped(tmp_path / "UCSDped1", script=""))
    assert dataset.test[0].frame_labels is None
    assert dataset.test[1].frame_labels.tolist() == [0, 0, 1, 1, 0, 0]


def test_single_clips_have_the_labels_of_their_number(tmp_path):
    root = ped(tmp_path / "UCSDped1")
    shutil.rmtree(root / "Test/Test001")
    assert UcsdLayout.read(root).test[0].frame_labels.tolist() == [1, 0, 0, 0, 0, 1]


def test_labels_that_do_not_match_are_errors(tmp_path):
    with pytest.raises(DataError, match="no spans for Test002"):
        UcsdLayout.read(ped(tmp_path / "a/UCSDped1", "TestVideoFile{end+1}.gt_frame = [1:2];"))
    with pytest.raises(DataError, match=r"UCSDped1\.m, clip 1: anomalous frames 1 to 6 .* has 6 frames"):
        UcsdLayout.read(ped(tmp_path / "b/UCSDped1", SCRIPT.replace("2:3", "2:7")))


def test_a_missing_mask_and_two_scripts_are_errors(tmp_path):
    root = ped(tmp_path / "UCSDped1")
    (root / "Test/Test002_gt/006.bmp").unlink()
    with pytest.raises(DataError, match=r"Test002_gt: 5 masks for 6 frames"):
        UcsdLayout.read(root)
    root = ped(tmp_path / "mine", script="")
    for name in ("a.m", "b.m"):
        (root / "Test" / name).write_text(SCRIPT)
    with pytest.raises(DataError, match=r"a\.m, b\.m; expected one \.m file"):
        UcsdLayout.read(root)


def test_other_trees_are_rejected_with_the_expected_tree(tmp_path):
    clip(tmp_path / "train/Train001")
    assert not UcsdLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="expected UCSDped1/Train/Train001"):
        UcsdLayout.read(tmp_path)


@pytest.mark.realdata
def test_real_frames_and_masks(real_data, tmp_path):
    sample = real_data / "video/ucsd_ped1_sample/tif_sample"
    for name in ("Test003", "Test003_gt"):
        shutil.copytree(sample / name, tmp_path / "UCSDped1/Test" / name)
    (dataset,) = UcsdLayout.read(tmp_path / "UCSDped1").test
    with open_masks(dataset.masks) as masks:
        assert (len(masks), masks[0].shape) == (16, (158, 238))
        np.testing.assert_array_equal(dataset.frame_labels, [mask.any() for mask in masks])
    shutil.copy(real_data / "video/labels_only/UCSDped1.m", tmp_path / "UCSDped1/Test")
    with pytest.raises(DataError, match=r"clip 3: anomalous frames 90 to 199 .* has 16 frames"):
        UcsdLayout.read(tmp_path / "UCSDped1")
