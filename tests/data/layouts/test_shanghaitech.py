import numpy as np
import pytest

from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.shanghaitech import ShanghaiTechLayout
from offnormal.errors import DataError
from tests.data.footage import clip, write_video

LABELS = np.array([0, 0, 1, 1, 0, 0], np.uint8)


def campus(root, train="videos", truth="testing"):
    for name in ("01_001", "13_007"):
        if train == "videos":
            write_video(root / f"training/videos/{name}.avi")
        else:
            clip(root / "training/frames" / name, start=0, suffix=".jpg")
    for name in ("01_0014", "12_0142"):
        clip(root / "testing/frames" / name, start=0, suffix=".jpg")
        for folder, values in (("test_frame_mask", LABELS), ("test_pixel_mask", LABELS[:, None, None] * np.eye(4, 6))):
            (root / truth / folder).mkdir(parents=True, exist_ok=True)
            np.save(root / truth / folder / f"{name}.npy", values.astype(np.uint8))
    return root


@pytest.mark.parametrize("train", ["videos", "frames"])
@pytest.mark.parametrize("truth", ["testing", ""])
def test_training_videos_or_frames_and_labeled_test_frames(tmp_path, train, truth):
    root = campus(tmp_path / "shanghaitech", train, truth)
    assert ShanghaiTechLayout.recognizes(root)
    assert ShanghaiTechLayout.categories(root) == []
    dataset = ShanghaiTechLayout.read(root)
    assert (dataset.layout, [video.name for video in dataset.train]) == ("shanghaitech", ["01_001", "13_007"])
    assert [video.name for video in dataset.test] == ["01_0014", "12_0142"]
    for video in dataset.test:
        np.testing.assert_array_equal(video.frame_labels, LABELS)
        with open_masks(video.masks) as masks:
            assert (len(masks), masks[2].sum(), masks[0].sum()) == (6, 4, 0)


def test_frames_have_priority_over_videos(tmp_path):
    root = campus(tmp_path, "videos")
    clip(root / "training/frames/01_001", start=0, suffix=".jpg")
    assert [video.path.is_dir() for video in ShanghaiTechLayout.read(root).train] == [True]


def test_labels_that_do_not_match_are_errors(tmp_path):
    root = campus(tmp_path)
    np.save(root / "testing/test_pixel_mask/12_0142.npy", np.zeros((5, 4, 6), np.uint8))
    with pytest.raises(DataError, match=r"12_0142\.npy: 5 masks for 6 frames"):
        ShanghaiTechLayout.read(root)
    np.save(root / "testing/test_frame_mask/12_0142.npy", LABELS[:5])
    with pytest.raises(DataError, match=r"12_0142\.npy: 5 labels for 6 frames"):
        ShanghaiTechLayout.read(root)
    (root / "testing/test_frame_mask/12_0142.npy").unlink()
    with pytest.raises(DataError, match=r"12_0142\.npy: no such file"):
        ShanghaiTechLayout.read(root)


def test_categories_and_other_trees_are_rejected(tmp_path):
    clip(tmp_path / "testing/frames/01_0014")
    assert not ShanghaiTechLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="layout; expected"):
        ShanghaiTechLayout.read(tmp_path)
    with pytest.raises(DataError, match="has no categories"):
        ShanghaiTechLayout.read(tmp_path, "x")
