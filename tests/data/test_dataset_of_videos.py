import shutil
from dataclasses import replace

import numpy as np
import pytest

from offnormal.data.dataset import Dataset
from offnormal.data.reuse import content_keys
from offnormal.errors import DataError
from offnormal.types import MaskSource
from tests.data.footage import clip
from tests.items import image, video

LABELS = np.array([0, 1], np.uint8)


def write(root):
    for name in ("train/cam1_a.mp4", "train/cam2_a.mp4", "test/cam1_b.mp4", "masks.npz"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(f"content of {name}".encode())
    clip(root / "train/cam3_a", 3)
    return root


def read(root):
    train = tuple(video(root / f"train/{n}", name=n) for n in ("cam1_a.mp4", "cam2_a.mp4", "cam3_a"))
    masks = MaskSource(path=root / "masks.npz", key="x")
    test = video(root / "test/cam1_b.mp4", frame_labels=LABELS, masks=masks)
    return Dataset(name="x", layout="videos", root=root, train=train, test=(test,))


@pytest.fixture
def dataset(tmp_path):
    return read(write(tmp_path / "set"))


def test_the_fingerprint_does_not_depend_on_the_location(dataset, tmp_path, monkeypatch):
    shutil.copytree(dataset.root, tmp_path / "other name")
    assert read(tmp_path / "other name").fingerprint() == dataset.fingerprint()
    monkeypatch.chdir(tmp_path)
    assert read(dataset.root.relative_to(tmp_path)).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("name", ["train/cam1_a.mp4", "test/cam1_b.mp4", "masks.npz", "train/cam3_a/002.tif"])
def test_the_fingerprint_changes_with_any_file_of_the_same_size(dataset, name):
    before = dataset.fingerprint()
    path = dataset.root / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert dataset.fingerprint() != before


def test_the_fingerprint_changes_with_frames_labels_splits_and_masks(dataset):
    test = dataset.test[0]
    variants = [
        dataset,
        replace(dataset, test=(replace(test, frame_labels=1 - LABELS),)),
        replace(dataset, test=(replace(test, frame_labels=None),)),
        replace(dataset, test=(replace(test, masks=None),)),
        replace(dataset, test=(replace(test, masks=replace(test.masks, key="y")),)),
        replace(dataset, test=(replace(test, name="other"),)),
        replace(dataset, train=dataset.train[:1]),
        replace(dataset, train=dataset.train[:1], test=(*dataset.train[1:], test)),
    ]
    fingerprints = {variant.fingerprint() for variant in variants}
    assert len(fingerprints) == len(variants)
    (dataset.root / "train/cam3_a/003.tif").rename(dataset.root / "train/cam3_a/009.tif")
    assert dataset.fingerprint() not in fingerprints


def test_each_split_has_a_different_fingerprint(dataset):
    assert len({dataset.fingerprint(part) for part in ("train", "test", "all")}) == 3
    assert replace(dataset, test=()).fingerprint("train") == dataset.fingerprint("train")


def test_content_keys_do_not_depend_on_names(dataset):
    before = content_keys(dataset.train)
    assert (len(before), before) == (3, sorted(before))
    moved = dataset.train[0].path.rename(dataset.root / "moved.mp4")
    renamed = replace(dataset, train=(replace(dataset.train[0], address=str(moved), name="m"), *dataset.train[1:]))
    assert content_keys(renamed.train) == before


def test_a_missing_video_has_a_fingerprint(dataset):
    before = dataset.fingerprint()
    dataset.train[0].path.unlink()
    assert dataset.fingerprint() != before


def test_groups(dataset):
    assert dataset.with_group_by(None) is dataset
    by_camera = dataset.with_group_by(r"cam\d")
    assert [video.group for video in (*by_camera.train, *by_camera.test)] == ["cam1", "cam2", "cam3", "cam1"]
    by_folder = dataset.with_group_by("folder")
    assert {video.group for video in by_folder.train} == {(dataset.root / "train").as_posix()}
    with pytest.raises(DataError, match=r"does not match train/cam1_a\.mp4: expected an expression"):
        dataset.with_group_by("lot")


def test_names_are_unique_within_a_split(dataset):
    with pytest.raises(DataError, match="have the same name 'a'; rename one"):
        replace(dataset, train=tuple(replace(video, name="a") for video in dataset.train))
    assert replace(dataset, test=tuple(replace(v, name=dataset.train[0].name) for v in dataset.test))


def test_images_and_videos_are_never_in_one_dataset(dataset):
    assert dataset.is_video
    assert not replace(dataset, train=(), test=(image("a.png"),)).is_video
    with pytest.raises(DataError, match="expected only images or only videos"):
        replace(dataset, test=(*dataset.test, image("a.png")))
