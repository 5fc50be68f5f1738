import numpy as np
import pytest

from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.videos import VideosLayout, from_videos
from offnormal.errors import DataError
from tests.data.footage import clip, write_video

LABELS = np.array([0, 0, 1, 1, 0, 0], np.uint8)
MASKS = LABELS[:, None, None].astype(bool) & (np.arange(13) == 12)[None, None] & np.ones((6, 9, 1), bool)


@pytest.fixture
def root(tmp_path):
    write_video(tmp_path / "train/a.mp4")
    for name in ("08", "cam 1/x.y"):
        write_video(tmp_path / f"test/{name}.mp4", size=(32, 46))
    return tmp_path


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, LABELS)
    else:
        path.write_text("start,end\n2,3\n" if path.stem.startswith("x") else "\n".join(map(str, LABELS)))


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt"])
@pytest.mark.parametrize("location", ["labels", "test/labels", "test", "Label"])
def test_labels_in_their_folder_or_next_to_the_video(root, location, suffix):
    for name in ("08", "cam 1/x.y"):
        write(root / location / f"{name}{suffix}")
    dataset = VideosLayout.read(root)
    for video in dataset.test:
        np.testing.assert_array_equal(video.frame_labels, LABELS)
    assert [video.frame_labels for video in dataset.train] == [None]


def test_folders_of_other_names_that_say_labels_or_masks_are_named_and_are_no_videos(root, caplog):
    clip(root / "test/GT/08", suffix=".png")
    write(root / "annotations/08.npy")
    dataset = VideosLayout.read(root)
    assert [video.name for video in dataset.test] == ["08", "cam 1/x.y"]
    for name in ("test/GT", "annotations"):
        assert f"{root / name}: not used; expected the name labels" in caplog.text


def test_the_folder_of_labels_has_priority(root):
    np.savez(root / "gt.npz", frame_labels_08=np.zeros(6))
    assert VideosLayout.read(root).test[0].frame_labels.sum() == 0
    (root / "test/08.csv").write_text("1\n" * 6)
    assert VideosLayout.read(root).test[0].frame_labels.sum() == 6
    write(root / "labels/08.npy")
    assert VideosLayout.read(root).test[0].frame_labels.sum() == 2


@pytest.mark.parametrize("key", ["08", "8", "008"])
def test_an_archive_may_label_more_videos_than_exist(root, key):
    np.savez(root / "gt.npz", **{f"frame_labels_{key}": LABELS.astype(bool), "frame_labels_09": np.ones(9)})
    numbered, named = VideosLayout.read(root).test
    np.testing.assert_array_equal(numbered.frame_labels, LABELS)
    assert named.frame_labels is None


def test_labels_that_match_no_video_are_an_error(root):
    write(root / "labels/8b.csv")
    with pytest.raises(DataError, match=r"labels for 8b\.csv, but the test videos are 08, cam 1/x\.y"):
        VideosLayout.read(root)
    (root / "labels/8b.csv").unlink()
    np.savez(root / "gt.npz", frame_labels_eight=LABELS)
    with pytest.raises(DataError, match="labels for frame_labels_eight, but"):
        VideosLayout.read(root)


def test_the_number_of_labels_equals_the_number_of_frames(root):
    clip(root / "test/frames", 5)
    write(root / "labels/frames.npy")
    with pytest.raises(DataError, match=r"frames\.npy: 6 labels for 5 frames"):
        VideosLayout.read(root)
    (root / "labels/frames.npy").unlink()
    np.savez(root / "gt.npz", frame_labels_frames=LABELS)
    with pytest.raises(DataError, match=r"gt\.npz, frame_labels_frames: 6 labels for 5 frames"):
        VideosLayout.read(root)


@pytest.mark.parametrize("form", [".npy", ".npz", "folder", "archive", "packed", "packed with a shape"])
def test_masks_in_every_format(root, form):
    size = (9, 13)
    (root / "masks/cam 1").mkdir(parents=True)
    if form == "folder":
        size = (4, 6)
        clip(root / "masks/08", marked=range(2, 4), suffix=".png")
    elif form == ".npy":
        np.save(root / "masks/08.npy", MASKS)
    elif form == ".npz":
        np.savez(root / "masks/08.npz", MASKS)
    elif form == "archive":
        np.savez(root / "gt.npz", mask_08=MASKS)
    else:  # 9 x 13 pixels have the aspect of 32 x 46 more nearly than any other width of two bytes
        shape = {"shape_08": np.array([6, 9, 15])} if form == "packed with a shape" else {}
        size = (9, 15) if shape else size
        np.savez(root / "gt.npz", mask_08_packed=np.packbits(MASKS, axis=-1), **shape)
    numbered, named = VideosLayout.read(root).test
    with open_masks(numbered.masks) as masks:
        assert (len(masks), masks[0].shape) == (6, size)
        assert [mask.any() for mask in masks] == LABELS.astype(bool).tolist()
    assert named.masks is None


def test_packed_masks_of_another_aspect_ratio_need_their_shape(root):
    np.savez(root / "gt.npz", mask_08_packed=np.zeros((6, 9, 7), np.uint8))
    with pytest.raises(
        DataError, match=r"9x49 to 9x56 pixels; expected the aspect ratio .*add their shape .* as shape_08"
    ):
        VideosLayout.read(root)
    np.savez(root / "gt.npz", mask_08_packed=np.zeros((6, 9), np.uint8))
    with pytest.raises(DataError, match=r"mask_08_packed: shape \(6, 9\); expected packed masks"):
        VideosLayout.read(root)


def test_the_number_of_masks_equals_that_of_labels(root):
    np.savez(root / "gt.npz", mask_08=MASKS[:5], frame_labels_08=LABELS)
    with pytest.raises(DataError, match="5 masks for 6 frames in"):
        VideosLayout.read(root)


def test_labels_next_to_a_single_video(tmp_path):
    video = write_video(tmp_path / "hall.mp4")
    write(tmp_path / "hall.csv")
    np.testing.assert_array_equal(from_videos(test=video).test[0].frame_labels, LABELS)
