import os

import numpy as np
import pytest

from offnormal.errors import ConfigError
from offnormal.files import hidden_sibling
from offnormal.training.embedding_store import EmbeddedClips, EmbeddingStore, format_key


def clips(n=3, seed=0, warnings=()):
    rng = np.random.default_rng(seed)
    frames = np.arange(2 * n).reshape(n, 2)
    return EmbeddedClips(frames, frames / 10, rng.normal(size=(n, 5)).astype(np.float32), warnings)


def equal(a, b):
    return a.warnings == b.warnings and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
        for name in ("frames", "times_s", "embeddings")
    )


@pytest.mark.parametrize("n", [3, 0])
def test_a_view_is_read_as_it_was_written(tmp_path, n):
    store = EmbeddingStore(tmp_path / "kept", 1 << 20)
    assert store.read("a") is None
    store.write("a", clips(n, warnings=("slow: late",)))
    assert equal(store.read("a"), clips(n, warnings=("slow: late",)))
    assert store.read("b") is None
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("harm", ["cut", "bit", "other", "nothing"])
def test_a_damaged_entry_is_not_used(tmp_path, caplog, harm):
    store = EmbeddingStore(tmp_path, 1 << 20)
    store.write("a", clips())
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if harm == "bit":
        content[-3] ^= 1
    path.write_bytes({"cut": content[:-8], "bit": content, "other": b"text", "nothing": b""}[harm])
    assert store.read("a") is None
    assert "damaged embeddings" in caplog.text
    store.write("a", clips())
    assert equal(store.read("a"), clips())


def test_an_entry_under_another_name_is_not_used(tmp_path):
    store = EmbeddingStore(tmp_path, 1 << 20)
    store.write("a", clips())
    (path,) = tmp_path.iterdir()
    store.write("b", clips(seed=1))
    (second,) = [entry for entry in tmp_path.iterdir() if entry != path]
    second.replace(path)
    assert store.read("a") is None


def test_the_least_recently_used_entries_are_evicted(tmp_path):
    store = EmbeddingStore(tmp_path, 1 << 20)
    for number, key in enumerate("abc"):
        store.write(key, clips())
        os.utime(store._path(key), (number, number))
    store.read("a")  # used last
    size = store._path("a").stat().st_size
    small = EmbeddingStore(tmp_path, 3 * size)
    small.write("d", clips())
    assert [key for key in "abcd" if store._path(key).exists()] == ["a", "b", "c", "d"], (
        "no eviction while a pass needs them"
    )
    small.evict()
    assert [key for key in "abcd" if small.read(key) is not None] == ["a", "c", "d"]


def test_files_of_killed_programs_are_removed(tmp_path, killed):
    old, new = (
        killed(tmp_path / "a.safetensors", "partial.safetensors"),
        hidden_sibling(tmp_path / "b.safetensors", "partial.safetensors"),
    )
    for path in (old, new):
        path.write_bytes(b"half")
    EmbeddingStore(tmp_path, 1 << 20)
    assert not old.exists() and new.exists()


def test_an_invalid_folder_is_refused_and_a_full_disk_is_one_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--embeddings-gb 0"):
        EmbeddingStore(tmp_path / "file" / "inside", 1)
    store = EmbeddingStore(tmp_path / "kept", 1 << 20)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("offnormal.training.embedding_store.save_file", full)
    store.write("a", clips())
    store.write("b", clips())
    assert store.read("a") is None
    assert caplog.text.count("cannot store embeddings") == 1
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_key_depends_on_every_value():
    assert format_key(a=1, b=(2, 3)) == format_key(b=[2, 3], a=1)
    assert format_key(a=1, b=2) != format_key(a=1, b=3)
