import logging

import numpy as np
import pytest

from offnormal.data.layouts.nwpu_campus import NwpuCampusLayout
from offnormal.data.layouts.videos import VideosLayout
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import write_video

LABELS = {"D001_03": np.array([0, 0, 1, 1, 0, 0]), "D002_04": np.zeros(6, np.int64)}


def campus(root, *, train="videos/Train", test="videos/Test", labels="groundtruth/NWPU_Campus_gt.npz", suffix="avi"):
    for name in ("D001_01", "D002_01"):
        write_video(root / train / f"{name}.{suffix}", 4)
    for name in LABELS:
        write_video(root / test / f"{name}.{suffix}", 6)
    (root / labels).parent.mkdir(parents=True, exist_ok=True)
    np.savez(root / labels, **LABELS)
    return root


@pytest.mark.parametrize(("train", "test", "labels"), [("train", "test", "gt.npz"), ("Train", "Test", "test/gt.npz")])
def test_train_test_and_labels(tmp_path, train, test, labels):
    root = campus(tmp_path / "campus", train=train, test=test, labels=labels)
    (dataset,) = open_datasets(root)
    assert dataset.layout == "nwpu_campus"
    assert [item.name for item in dataset.train] == ["D001_01", "D002_01"]
    assert {item.name: item.frame_labels.tolist() for item in dataset.test} == {
        name: values.tolist() for name, values in LABELS.items()
    }


def test_the_folder_of_the_archive(tmp_path):
    campus(tmp_path / "NWPUCampusDataset")
    assert NwpuCampusLayout.recognizes(tmp_path) and len(NwpuCampusLayout.read(tmp_path).test) == 2


def test_missing_and_unused_labels_are_named(tmp_path, caplog):
    root = campus(tmp_path)
    file = root / "groundtruth/NWPU_Campus_gt.npz"
    np.savez(file, **LABELS, D009_01=np.zeros(3))
    with caplog.at_level(logging.WARNING):
        NwpuCampusLayout.read(root)
    assert "labels of 1 missing videos are skipped, such as D009_01" in caplog.text
    np.savez(file, D001_03=LABELS["D001_03"])
    with pytest.raises(DataError, match="no labels for 1 of 2 test videos, such as D002_04"):
        NwpuCampusLayout.read(root)
    np.savez(file, **{**LABELS, "D002_04": np.zeros(5)})
    with pytest.raises(DataError, match="D002_04: 5 labels for 6 frames"):
        NwpuCampusLayout.read(root)


def test_your_own_videos_with_gt_npz_have_another_layout(tmp_path):
    write_video(tmp_path / "train/a.avi", 4)
    write_video(tmp_path / "test/b.avi", 6)
    np.savez(tmp_path / "gt.npz", frame_labels_b=LABELS["D001_03"])
    assert not NwpuCampusLayout.recognizes(tmp_path) and VideosLayout.recognizes(tmp_path)
