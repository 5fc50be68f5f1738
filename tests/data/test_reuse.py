import doctest
import shutil

import pytest

from offnormal.data import reuse
from offnormal.data.dataset import Dataset
from offnormal.data.reuse import content_keys, drop_copies, find_reuse, without_copies
from offnormal.errors import DataError
from tests.items import image, video


@pytest.fixture
def files(tmp_path):
    """Ten files of the same size with different bytes, and one of another size."""
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(b"bytes %d" % number)
    (tmp_path / "10.png").write_bytes(b"other bytes")
    return [image(tmp_path / f"{number}.png") for number in range(11)]


def test_doctests():
    assert doctest.testmod(reuse).failed == 0


def test_items_are_recognized_by_their_bytes_under_other_names(files, tmp_path):
    contents = content_keys(files[:4])
    shutil.copy(files[2].path, tmp_path / "renamed.jpg")
    items = [files[7], image(tmp_path / "renamed.jpg"), files[0]]
    remaining, reused = find_reuse(items, contents, exclude=True)
    assert [item.name for item in remaining] == [files[7].name]
    assert reused.names == [str(tmp_path / "renamed.jpg"), files[0].name]
    assert reused.note(("image", "images")).startswith("2 of 3 images were used for training or for the threshold")
    assert find_reuse(items, contents, exclude=False)[0] == items
    assert find_reuse(items, (), exclude=True)[0] == items
    with pytest.raises(DataError, match="--exclude-known: all 2 were used"):
        find_reuse(files[:2], contents, exclude=True)


def test_files_of_other_sizes_are_not_read(files, monkeypatch):
    contents, hashed = content_keys(files[10:]), []
    real = reuse.hash_contents
    monkeypatch.setattr(reuse, "hash_contents", lambda paths: real(hashed.extend(paths := list(paths)) or paths))
    assert find_reuse(files, contents, exclude=False)[1].items == (files[10],)
    assert hashed == [files[10].path]


def test_unreadable_files_are_never_the_same(tmp_path):
    items = [image(tmp_path / name) for name in ("gone.png", "lost.png")]
    assert content_keys(items) == []
    assert without_copies(items) == (items, [])
    assert find_reuse(items, content_keys(items), exclude=False)[1].items == ()


def test_folders_of_frames_are_recognized(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(b"frame %d" % (number + (name == "c")))
    videos = [video(tmp_path / name) for name in ("a", "b", "c")]
    assert [item.name for item in without_copies(videos)[0]] == ["a", "c"]
    assert find_reuse(videos[1:], content_keys(videos[:1]), exclude=False)[1].names == ["b"]


def test_copies_count_once_also_between_training_and_calibration(files, tmp_path):
    for name in ("x.png", "y.png"):
        shutil.copy(files[1].path, tmp_path / name)
    dataset = Dataset(
        name="d",
        layout="folder",
        root=tmp_path,
        train=(*files[:3], image(tmp_path / "x.png")),
        calibration=(files[5], image(tmp_path / "y.png")),
    )
    unique = drop_copies(dataset)
    assert unique.train == tuple(files[:3]) and unique.calibration == (files[5],)
    assert [(skip.path.name, skip.kind) for skip in unique.skipped] == [("x.png", "copy"), ("y.png", "copy")]
    assert "the same bytes as" in unique.skipped[0].reason
    assert drop_copies(unique) == unique
