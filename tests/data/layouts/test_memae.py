import numpy as np
import pytest
from scipy.io import savemat

from offnormal.data.layouts.memae import MemaeLayout
from offnormal.errors import DataError
from tests.data.footage import clip


def memae(root):
    for name in ("Train/Video001", "Test/Video001", "Test/Video002"):
        clip(root / name, suffix=".jpg")
    for name in ("Train_idx", "Test_idx", "Test_gt"):
        (root / name).mkdir()
    for number, first in ((1, 0), (2, 4)):
        savemat(root / f"Test_gt/Video00{number}.mat", {"l": (np.arange(6)[None] >= first).astype(np.uint8)})
    return root


def test_the_tree(tmp_path):
    root = memae(tmp_path / "UCSD_P2_256")
    assert MemaeLayout.recognizes(root)
    dataset = MemaeLayout.read(root)
    assert (dataset.name, dataset.layout, [video.name for video in dataset.train]) == (
        "UCSD_P2_256",
        "memae",
        ["Video001"],
    )
    assert [video.frame_labels.tolist() for video in dataset.test] == [[1] * 6, [0, 0, 0, 0, 1, 1]]


def test_several_in_a_folder_are_categories(tmp_path):
    for name in ("ped2", "avenue"):
        memae(tmp_path / name)
    assert MemaeLayout.recognizes(tmp_path)
    assert MemaeLayout.categories(tmp_path) == ["avenue", "ped2"]
    assert MemaeLayout.read(tmp_path, "ped2").category == "ped2"


def test_labels_are_optional_but_must_match(tmp_path):
    root = memae(tmp_path / "a")
    savemat(root / "Test_gt/Video002.mat", {"l": np.zeros((1, 5))})
    with pytest.raises(DataError, match=r"Video002\.mat: 5 labels for 6 frames"):
        MemaeLayout.read(root)
    (root / "Test_gt/Video002.mat").unlink()
    with pytest.raises(DataError, match=r"Video002\.mat: no such file"):
        MemaeLayout.read(root)
    clip(tmp_path / "b/Test/Video001")
    assert MemaeLayout.read(tmp_path / "b").test[0].frame_labels is None


def test_other_trees_are_rejected(tmp_path):
    clip(tmp_path / "Train/Train001")
    assert not MemaeLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="expected Train/Video001"):
        MemaeLayout.read(tmp_path)
