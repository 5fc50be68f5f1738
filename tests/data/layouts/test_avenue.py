import numpy as np
import pytest
from scipy.io import savemat

from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.avenue import AvenueLayout
from offnormal.errors import DataError
from tests.data.footage import cells, save_hdf5, write_video


def masks(anomalous, frames=6):
    dataset = np.zeros((frames, 32, 48), np.uint8)
    dataset[anomalous, 30, 5] = 1
    return list(dataset)


def avenue(root, truth="ground_truth_demo", hdf5=False):
    for part in ("training_videos", "testing_videos"):
        for number in ("01", "02", "10"):
            write_video(root / part / f"{number}.avi")
    (root / "training_vol").mkdir()
    folder = root / truth / "testing_label_mask"
    folder.mkdir(parents=True)
    for number, anomalous in ((1, [0]), (2, [1, 2]), (10, [5])):
        if hdf5:
            save_hdf5(folder / f"{number}_label.mat", "volLabel", masks(anomalous))
        else:
            savemat(folder / f"{number}_label.mat", {"volLabel": cells(masks(anomalous))})
    return root


@pytest.mark.parametrize("truth", ["ground_truth_demo", "../ground_truth_demo", ".."])
@pytest.mark.parametrize("hdf5", [False, True])
def test_masks_and_labels_in_both_matlab_formats_and_all_locations(tmp_path, truth, hdf5):
    root = avenue(tmp_path / "Avenue Dataset", truth, hdf5)
    dataset = AvenueLayout.read(root)
    assert (dataset.layout, dataset.root, [video.name for video in dataset.train]) == (
        "avenue",
        root,
        ["01", "02", "10"],
    )
    assert {video.name: np.flatnonzero(video.frame_labels).tolist() for video in dataset.test} == {
        "01": [0],
        "02": [1, 2],
        "10": [5],
    }
    with open_masks(dataset.test[2].masks) as opened:
        assert (len(opened), opened[0].shape) == (6, (32, 48))
        assert np.argwhere(opened[5]).tolist() == [[30, 5]]


def test_the_parent_folder_is_recognized(tmp_path):
    avenue(tmp_path / "Avenue Dataset", "../ground_truth_demo")
    assert AvenueLayout.recognizes(tmp_path)
    assert AvenueLayout.recognizes(tmp_path / "Avenue Dataset")
    assert AvenueLayout.categories(tmp_path) == []
    assert AvenueLayout.read(tmp_path).test[0].frame_labels is not None


def test_labels_are_unknown_without_masks(tmp_path):
    root = avenue(tmp_path / "a")
    (root / "ground_truth_demo/testing_label_mask/2_label.mat").unlink()
    assert [video.frame_labels is None for video in AvenueLayout.read(root).test] == [False, True, False]
    for number in (1, 10):
        (root / f"ground_truth_demo/testing_label_mask/{number}_label.mat").unlink()
    with pytest.raises(DataError, match=r"no mask file for any test video; expected 1_label\.mat"):
        AvenueLayout.read(root)
    write_video(tmp_path / "b/testing_videos/01.avi")
    assert AvenueLayout.read(tmp_path / "b").test[0].masks is None


def test_categories_and_other_trees_are_rejected(tmp_path):
    assert not AvenueLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="layout; expected"):
        AvenueLayout.read(tmp_path)
    with pytest.raises(DataError, match="has no categories"):
        AvenueLayout.read(tmp_path, "x")
