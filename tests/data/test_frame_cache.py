import errno
import os

import numpy as np
import pytest

from offnormal.data.frame_cache import DiskCache, RamCache, ResizedFrame, cache_key
from offnormal.errors import ConfigError
from offnormal.files import hidden_sibling
from offnormal.types import InputSpec, Mask, Resize

SPEC = InputSpec(size=(4, 6))


def frames(count=5, start=0):
    rng = np.random.default_rng(start)
    return [
        ResizedFrame(i, i / 25 if i % 2 else None, rng.integers(0, 256, (4, 6, 3), np.uint8).transpose(2, 0, 1))
        for i in range(start, start + count)
    ]


def record(cache, key, of):
    recording = cache.record(key)
    for frame in of:
        recording.add(frame)
    recording.commit()
    recording.close()
    return cache.read(key)


def same(result, expected):
    result = list(result)
    assert [(f.index, f.time_s) for f in result] == [(f.index, f.time_s) for f in expected]
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)


@pytest.fixture(params=["ram", "disk"])
def cache(request, tmp_path):
    return RamCache() if request.param == "ram" else DiskCache(tmp_path / "cache")


def test_cached_frames_are_unchanged(cache):
    assert cache.read("a") is None
    same(record(cache, "a", frames()), frames())
    same(record(cache, "b", frames(3, start=7)), frames(3, start=7))
    same(cache.read("a"), frames())


def test_without_commit_nothing_is_cached(cache, tmp_path):
    recording = cache.record("a")
    recording.add(frames()[0])
    recording.close()
    assert cache.read("a") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_memory_is_bounded_and_a_full_cache_warns_once(caplog):
    size = frames()[0].pixels.nbytes
    cache = RamCache(limit=12 * size)
    assert record(cache, "a", frames()) and record(cache, "b", frames())
    assert record(cache, "c", frames()) is None
    assert record(cache, "d", frames()) is None
    assert record(cache, "e", frames(2)) is not None
    assert len(caplog.records) == 1
    assert "full" in caplog.text


def test_a_file_of_the_cache_is_an_ordinary_array(tmp_path):
    record(DiskCache(tmp_path), "a", frames())
    rows = np.load(tmp_path / "a.npy", allow_pickle=False)
    np.testing.assert_array_equal(rows["pixels"], np.stack([f.pixels for f in frames()]))
    assert rows["index"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-5],
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"no array at all",
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        lambda data: data[:200] + b"x" * 20 + data[220:],
        lambda data: data.replace(b"'crc'", b"'abc'"),
    ],
)
def test_a_damaged_file_is_ignored_and_rewritten(tmp_path, caplog, spoil):
    cache = DiskCache(tmp_path)
    record(cache, "a", frames())
    path = tmp_path / "a.npy"
    path.write_bytes(spoil(path.read_bytes()))
    if cache.read("a") is not None:  # spaces of the header
        pytest.fail("damage went unseen")
    assert "damaged" in caplog.text
    same(record(cache, "a", frames()), frames())


def test_a_full_disk_warns_once_and_leaves_no_files(tmp_path, caplog, monkeypatch):
    cache = DiskCache(tmp_path)
    real = type(tmp_path).open

    def opened(self, *args, **kwargs):
        file = real(self, *args, **kwargs)
        return Full(file) if self.suffix == ".partial" else file

    class Full:
        def __init__(self, file):
            self.file, self.written = file, 0

        def write(self, data):
            self.written += len(data)
            if self.written > 700:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def close(self):
            self.file.close()

    monkeypatch.setattr(type(tmp_path), "open", opened)
    assert record(cache, "a", frames()) is None
    assert record(cache, "b", frames()) is None
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert not list(tmp_path.iterdir())


def test_files_of_killed_programs_are_removed(tmp_path, killed):
    left, ours = killed(tmp_path / "a.npy", "partial"), hidden_sibling(tmp_path / "b.npy", "partial")
    for path in (left, ours):
        path.write_text("x")
    DiskCache(tmp_path)
    assert list(tmp_path.iterdir()) == [ours]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot store a cache"):
        DiskCache(tmp_path / "file" / "cache")


def test_the_key_depends_on_the_file_and_on_pixel_settings(tmp_path):
    video = tmp_path / "ä b.mp4"
    video.write_text("one")
    key = cache_key(video, SPEC)
    assert key.startswith("ä b-")
    assert key == cache_key(video, InputSpec(size=(4, 6), frames=9, hop=2, fps=5.0, targets=()))
    others = [
        cache_key(video, InputSpec(size=(6, 4))),
        cache_key(video, InputSpec(size=(4, 6), channels=1)),
        cache_key(video, InputSpec(size=(4, 6), resize=Resize(interpolation="box"))),
        cache_key(video, SPEC, every_s=5.0),
        cache_key(video, SPEC, fps=5.0),
    ]
    video.write_text("other")
    others.append(cache_key(video, SPEC))
    os.utime(video, (1, 1))
    others.append(cache_key(video, SPEC))
    assert len({key, *others}) == 8


def test_the_key_of_a_folder_depends_on_its_images(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "0.jpg").write_text("x")
    key = cache_key(folder, SPEC)
    (folder / "1.jpg").write_text("x")
    assert cache_key(folder, SPEC) != key


def test_the_key_depends_on_the_privacy_mask(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    masks = [None, Mask((((0, 0), (1, 0), (1, 1)),)), Mask((((0, 0), (1, 0), (0, 1)),))]
    assert len({cache_key(path, InputSpec(size=(8, 8), mask=mask)) for mask in masks}) == 3
