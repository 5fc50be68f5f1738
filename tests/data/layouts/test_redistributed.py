import numpy as np
import pytest
from scipy.io import savemat

from offnormal.data.layouts.redistributed import RedistributedLayout
from offnormal.errors import DataError
from tests.data.footage import cells, clip

LENGTHS = {"01": 6, "02": 4, "10": 5}
LABELS = np.array([0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1], np.int64)
EVENTS = [np.array([[2], [3]]), np.array([[1], [4]]), np.array([[5], [5]])]


def frames(root):
    clip(root / "training/frames/01", start=0, suffix=".jpg")
    for name, length in LENGTHS.items():
        clip(root / "testing/frames" / name, length, start=0, suffix=".jpg")
    return root


def labels(path, shape=(-1,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, LABELS.reshape(shape))
    else:
        savemat(path, {"gt": cells(EVENTS)})


def test_labels_are_split_by_frame_counts(tmp_path):
    root = frames(tmp_path / "ped2")
    labels(root / "frame_labels_ped2.npy")
    dataset = RedistributedLayout.read(root)
    assert (dataset.name, dataset.layout, [video.name for video in dataset.train]) == ("ped2", "redistributed", ["01"])
    assert [video.frame_labels.tolist() for video in dataset.test] == [
        [0, 1, 1, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("shape", [(-1,), (1, -1)])
@pytest.mark.parametrize(
    "location",
    [
        "dataset/ped2/frame_labels_ped2.npy",
        "dataset/ped2/frame_labels.npy",
        "dataset/ped2/data/frame_labels_mine.npy",
        "dataset/frame_labels_PED2.npy",
        "dataset/data/frame_labels_ped2.npy",
        "data/frame_labels_ped2.npy",
        "dataset/ped2/ped2.mat",
        "dataset/ped2/gt.mat",
        "dataset/ped2.mat",
    ],
)
def test_labels_are_found_in_the_usual_locations(tmp_path, location, shape):
    root = frames(tmp_path / "dataset/ped2")
    labels(tmp_path / location, shape)
    labels(tmp_path / "data/frame_labels_avenue.npy")  # of another dataset
    dataset = RedistributedLayout.read(root)
    np.testing.assert_array_equal(np.concatenate([video.frame_labels for video in dataset.test]), LABELS)


def test_one_event_per_video_may_be_a_plain_array(tmp_path):
    root = frames(tmp_path / "ped2")
    savemat(root / "ped2.mat", {"gt": np.hstack(EVENTS)})
    dataset = RedistributedLayout.read(root)
    np.testing.assert_array_equal(np.concatenate([video.frame_labels for video in dataset.test]), LABELS)


def test_shanghai_has_two_names(tmp_path):
    root = frames(tmp_path / "shanghaitech")
    labels(tmp_path / "data/frame_labels_shanghai.npy")
    assert RedistributedLayout.read(root).test[0].frame_labels is not None


def test_labels_of_other_datasets_are_not_used(tmp_path):
    root = frames(tmp_path / "ped2")
    labels(tmp_path / "data/frame_labels_ped1.npy")
    assert [video.frame_labels for video in RedistributedLayout.read(root).test] == [None] * 3


def test_labels_that_do_not_match_are_errors(tmp_path):
    root = frames(tmp_path / "ped2")
    np.save(root / "frame_labels_ped2.npy", LABELS[:-1])
    with pytest.raises(DataError, match=r"14 labels for 15 frames in 3 test videos"):
        RedistributedLayout.read(root)
    (root / "frame_labels_ped2.npy").unlink()
    savemat(root / "ped2.mat", {"gt": cells([*EVENTS[:2], np.array([[5], [6]])])})
    with pytest.raises(DataError, match=r"ped2\.mat, video 3: anomalous frames 4 to 5 .* has 5 frames"):
        RedistributedLayout.read(root)


def test_several_label_files_of_other_names_are_an_error(tmp_path):
    root = frames(tmp_path / "mine")
    for name in ("a", "b"):
        labels(root / f"frame_labels_{name}.npy")
    with pytest.raises(DataError, match=r"frame_labels_a\.npy, frame_labels_b\.npy\); expected one"):
        RedistributedLayout.read(root)
    labels(root / "frame_labels_mine.npy")
    assert RedistributedLayout.read(root).test[0].frame_labels is not None


def test_several_in_a_folder_are_categories(tmp_path):
    for name in ("avenue", "ped2"):
        frames(tmp_path / name)
    (tmp_path / "docs").mkdir()
    assert RedistributedLayout.recognizes(tmp_path)
    assert RedistributedLayout.categories(tmp_path) == ["avenue", "ped2"]
    assert RedistributedLayout.read(tmp_path, "ped2").root == tmp_path / "ped2"


def test_other_trees_are_rejected(tmp_path):
    clip(tmp_path / "training/01")
    assert not RedistributedLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="expected training/frames"):
        RedistributedLayout.read(tmp_path)


@pytest.mark.realdata
def test_real_labels_are_split_for_the_clips_of_ped2(real_data, tmp_path):
    lengths = [180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180]
    for i, length in enumerate(lengths, 1):
        folder = tmp_path / f"ped2/testing/frames/{i:02}"
        folder.mkdir(parents=True)
        for j in range(length):
            (folder / f"{j:03}.jpg").touch()
    (tmp_path / "data").symlink_to(real_data / "video/labels_only")
    dataset = RedistributedLayout.read(tmp_path / "ped2")
    assert [len(video.frame_labels) for video in dataset.test] == lengths
    assert [int(video.frame_labels.sum()) for video in dataset.test][:3] == [120, 86, 146]
