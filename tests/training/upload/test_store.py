"""Valid and invalid upload addresses."""

from __future__ import annotations

import pytest

from offnormal.errors import ConfigError
from offnormal.training.upload.store import Store


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("backup", "expected a URL such as s3://bucket/prefix"),
        ("s3://", "expected a URL"),
        ("s3:///", "no bucket found"),
        ("s4://bucket/x", "not known"),
        ("sftp://***@host/x", "give --upload with the complete URL again"),
    ],
)
def test_an_invalid_address_is_refused_with_advice(url, message):
    with pytest.raises(ConfigError, match=message):
        Store(url)


def test_a_missing_package_is_named_without_secrets(monkeypatch):
    def missing(protocol):
        raise ImportError("Install it")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"pip install 'offnormal\[s3\]'") as error:
        Store("s3://key:secret@bucket/x")
    assert "secret" not in str(error.value)


def test_files_are_written_read_and_removed_with_their_empty_folders(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "there").mkdir()
    store = Store(f"file://{tmp_path}/there/below")
    store.put(tmp_path / "a", "run/x/a")
    store.write("run/b", b"b")
    assert (store.read("run/x/a"), store.read("run/b"), store.read("run/c")) == (b"a", b"b", None)
    store.remove("run/x/a")
    store.remove("run/x/a")
    assert [path.name for path in (tmp_path / "there/below/run").iterdir()] == ["b"]
    store.remove("run/b")
    assert list((tmp_path / "there").rglob("*")) == [tmp_path / "there/below"]
