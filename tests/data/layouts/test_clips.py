import numpy as np
import pytest

from offnormal.data.layouts.clips import check_mask_count, clip_folders, has_clips, has_subfolder, video_items
from offnormal.errors import DataError
from offnormal.types import MaskSource
from tests.data.footage import clip, write_video


def test_names_are_case_sensitive(tmp_path):
    clip(tmp_path / "Train/Train001", 1)
    assert has_subfolder(tmp_path, "train", "Train")
    assert not has_subfolder(tmp_path, "train")
    assert has_clips(tmp_path / "Train")
    assert not has_clips(tmp_path / "train")


def test_clips_are_folders_of_frames_with_matching_names_in_natural_order(tmp_path):
    for name in ("Test10", "Test2", "Test2_gt", "Test"):
        clip(tmp_path / name, 1)
    (tmp_path / "Test3").mkdir()
    (tmp_path / "Test4").touch()
    assert [path.name for path in clip_folders(tmp_path, r"Test\d+")] == ["Test2", "Test10"]
    assert [video.name for video in video_items(clip_folders(tmp_path, r"Test\d+"))] == ["Test2", "Test10"]
    assert not has_clips(tmp_path, "x")
    assert clip_folders(tmp_path / "missing") == []


@pytest.mark.parametrize("form", ["folder", ".npy", ".npz"])
def test_the_number_of_masks_equals_that_of_frames(tmp_path, form):
    masks = np.zeros((4, 2, 3), np.uint8)
    np.save(tmp_path / "m.npy", masks)
    np.savez(tmp_path / "m.npz", x=masks)
    source = MaskSource(path=clip(tmp_path / "m", 4) if form == "folder" else tmp_path / f"m{form}", key="x")
    assert check_mask_count(source, clip(tmp_path / "four", 4)) is source
    with pytest.raises(DataError, match=r"m.*: 4 masks for 5 frames in .*five"):
        check_mask_count(source, clip(tmp_path / "five", 5))
    file = write_video(tmp_path / "a.mp4", 5)
    assert check_mask_count(source, file, 4) is source
    with pytest.raises(DataError, match=r"4 masks for 5 frames in .*a\.mp4"):
        check_mask_count(source, file)
