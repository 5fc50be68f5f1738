import doctest
import os

import pytest

from offnormal.data import unread
from offnormal.data.dataset import Dataset
from offnormal.data.open import open_datasets
from offnormal.data.unread import count_reasons, describe_counts, list_masks, list_unread, skipped_near, with_unread
from tests.data.tree import draw
from tests.items import image


def test_doctests():
    assert doctest.testmod(unread).failed == 0


def kinds(root, *used):
    return {skip.path.relative_to(root).as_posix(): skip.kind for skip in list_unread([root], [root / u for u in used])}


def test_everything_passed_over_has_a_reason(tmp_path):
    draw(tmp_path, "a.png", "lot/b.png", ".c.png", "._d.jpg", ".cache/e.png", "plain.png")
    for name in ("f.psd", "g.JXL", "lot/h.dng", "i.rm", "notes.txt", ".DS_Store", "gt.npz"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "plain.png").rename(tmp_path / "IMG_0001")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "linked").symlink_to(tmp_path / "lot")
    assert kinds(tmp_path, "a.png", "lot/b.png") == {
        ".c.png": "hidden file",
        "._d.jpg": "hidden file",
        ".cache": "hidden folder",
        "f.psd": ".psd file",
        "g.JXL": ".jxl file",
        "lot/h.dng": ".dng file",
        "i.rm": ".rm file",
        "IMG_0001": "image without an image suffix",
        "gone.png": "broken link",
        "pipe.png": "special file",
        "linked": "link to a folder",
    }
    reasons = [skip.reason for skip in list_unread([tmp_path], [])]
    assert all(str(tmp_path) in reason for reason in reasons)


def test_images_and_videos_of_no_use_to_the_dataset_are_listed(tmp_path):
    draw(
        tmp_path, "train/good/0.png", "train/good/1.png", "test/hole/0.png", "test/good/0.png", "extra/2.png",
        "ground_truth/hole/0_mask.png", "ground_truth/hole/7_mask.png", "ground_truth/good/0_mask.png",
        "cover.png", "frames/a/1.png", "frames/a_gt/2.png", "extra/2_mask.png",
        "clips/jpeg/1.png",
    )  # fmt: skip
    (tmp_path / "tour.mp4").write_bytes(b"x")
    (tmp_path / "scan.tif").write_bytes(b"x")
    (dataset,) = open_datasets(tmp_path)
    used = [item.path for item in (*dataset.train, *dataset.test)]
    used += [
        tmp_path / "frames/a",
        tmp_path / "scan.tif[2]",
        tmp_path / "clips/a.mp4",
        tmp_path / "ground_truth/hole/0_mask.png",
    ]
    listed = list_unread([tmp_path], used)
    assert {skip.path.relative_to(tmp_path).as_posix(): skip.kind for skip in listed} == {
        "extra/2.png": "unused image",
        "cover.png": "unused image",
        "tour.mp4": "unused video",
        "ground_truth/hole/7_mask.png": "mask without an image",
    }
    assert all(str(skip.path) in skip.reason for skip in listed)
    assert describe_counts(4, ("image", "images"), listed) == (
        "read 4 images, skipped 4: 2 unused images, 1 mask without an image, 1 unused video"
    )


def test_masks_in_a_folder_of_masks_belong_to_images_of_the_same_name(tmp_path):
    draw(tmp_path, "test/a/1.png", "masks/1.png", "masks/2.png", "clip_gt/001.png", "beside/3.png", "beside/3_mask.png")
    kinds = {
        skip.path.name: skip.kind
        for folder in ("masks", "clip_gt", "beside")
        for skip in list_unread(
            [tmp_path / folder], [tmp_path / "test/a/1.png", tmp_path / "clip", tmp_path / "beside/3.png"]
        )
    }
    assert kinds == {"2.png": "mask without an image"}


@pytest.fixture
def no_root():
    """Act as a user without rights on other users' files."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_an_unreadable_folder_is_never_lost(tmp_path, request):
    draw(tmp_path, "good/a.png", "good/locked/b.png")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.name:
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "good/locked").chmod(0)
    request.getfixturevalue("no_root")
    (skip,) = list_unread([tmp_path], [tmp_path / "good/a.png"])
    assert (skip.path, skip.kind) == (tmp_path / "good/locked", "unreadable folder")
    assert "cannot be read (Permission denied)" in skip.reason
    os.seteuid(os.getuid())
    (tmp_path / "good/locked").chmod(0o755)


def test_what_was_passed_over_belongs_to_the_items_next_to_it(tmp_path):
    draw(tmp_path, "train/good/a.png", "test/bad/b.png")
    for name in ("train/good/c.jxl", "train/other/d.jxl", "test/bad/e.jxl", "f.jxl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    train, test = (image(tmp_path / name) for name in ("train/good/a.png", "test/bad/b.png"))
    dataset = Dataset(name="d", layout="mvtec", root=tmp_path, train=(train,), test=(test,))
    dataset = with_unread(dataset, [tmp_path])
    assert len(dataset.skipped) == 4
    names = [[skip.path.name for skip in skipped_near(dataset, items)] for items in (dataset.train, dataset.test)]
    assert names == [["f.jxl", "c.jxl", "d.jxl"], ["f.jxl", "e.jxl"]]
    assert count_reasons(dataset.skipped) == {".jxl file": 4}


def test_counts_are_one_line():
    assert describe_counts(1200, ("video", "videos"), []) == "read 1,200 videos, skipped nothing"


def test_masks_are_listed_by_their_names(tmp_path):
    draw(tmp_path, "1.png", "1_mask.png", "ground_truth/bad/2.png")
    assert sorted(skip.path.name for skip in list_masks(tmp_path)) == ["1_mask.png", "2.png"]
