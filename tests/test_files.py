import errno
import os
import stat
from pathlib import Path

import pytest

from offnormal import files
from offnormal.errors import OffnormalError
from offnormal.files import new_file, new_folder, write_text


def listing(folder):
    return sorted(path.name for path in folder.rglob("*"))


def failing(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new folder/ä.txt"
    with new_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt"
        assert partial.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert listing(path.parent) == ["ä.txt"]


def test_an_old_file_remains_until_the_block_ends(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with new_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_in_the_block_keeps_the_old_file_and_leaves_no_debris(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), new_file(path) as partial:
        partial.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_and_keeps_the_old_file(tmp_path, monkeypatch, number):
    path = tmp_path / "x.txt"
    path.write_text("old")
    monkeypatch.setattr(files.os, "fsync", failing(number))
    with pytest.raises(OffnormalError, match=r"x\.txt: the disk is full; nothing was changed"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_an_unwritable_path_is_reported(tmp_path, monkeypatch, number):
    monkeypatch.setattr(Path, "mkdir", failing(number))
    with pytest.raises(OffnormalError, match=r"cannot be written \(.*\); choose another path"):
        write_text(tmp_path / "deep/x.txt", "new")


def test_files_and_folders_in_the_way_are_reported(tmp_path):
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file/x.txt", tmp_path / "file/deep/x.txt", tmp_path):
        with pytest.raises(OffnormalError, match="cannot be written"):
            write_text(path, "new")
    with pytest.raises(OffnormalError, match="is a file; expected a folder"), new_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"
    assert listing(tmp_path) == ["file"]


def test_a_closed_pipe_is_not_reported_as_a_file_error(tmp_path):
    with pytest.raises(BrokenPipeError), new_file(tmp_path / "x.csv"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_two_writers_of_one_file_are_independent(tmp_path):
    path = tmp_path / "x.txt"
    with new_file(path) as first:
        first.write_text("first")
        write_text(path, "second")
        assert first.read_text() == "first"
    assert path.read_text() == "first"


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "new")
    with new_folder(tmp_path / ("y" * 255)):
        pass
    assert path.read_text() == "new"


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "x", "ä€\n")
    assert (tmp_path / "x").read_bytes() == "ä€\n".encode()


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep/bundle"
    with new_folder(path) as partial:
        (partial / "a").write_text("new")
        assert not path.exists()
    assert listing(tmp_path / "deep") == ["a", "bundle"]


def test_a_folder_replaces_an_old_one_completely(tmp_path):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    with new_folder(path) as partial:
        (partial / "new").touch()
        assert listing(path) == ["old"]
    assert listing(tmp_path) == ["bundle", "new"]


def test_an_error_in_the_block_keeps_the_old_folder_and_leaves_no_debris(tmp_path):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(ZeroDivisionError), new_folder(path) as partial:
        (partial / "new").touch()
        1 / 0  # noqa: B018
    assert listing(tmp_path) == ["bundle", "old"]


def test_a_full_disk_in_a_folder_is_reported(tmp_path):
    with pytest.raises(OffnormalError, match="the disk is full"), new_folder(tmp_path / "bundle"):
        failing(errno.ENOSPC)()
    assert listing(tmp_path) == []


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()])
@pytest.mark.parametrize("stuck", [(".partial",), (".partial", ".old")])
def test_the_old_folder_is_never_lost_when_replacing_fails(tmp_path, monkeypatch, error, stuck):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    real = Path.replace

    def replace(self, target):
        if self.name.endswith(stuck):
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((OffnormalError, KeyboardInterrupt)), new_folder(path) as partial:
        (partial / "new").touch()
    remaining = listing(tmp_path)
    assert remaining[-1] == "old"
    assert "new" not in remaining
    assert (remaining[0] == "bundle") == (stuck == (".partial",))


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_files_and_folders_have_ordinary_permissions(tmp_path):
    write_text(tmp_path / "x", "new")
    with new_folder(tmp_path / "bundle"):
        pass
    (tmp_path / "ordinary").mkdir()
    (tmp_path / "ordinary.txt").touch()
    for ours, ordinary in (("x", "ordinary.txt"), ("bundle", "ordinary")):
        assert stat.S_IMODE((tmp_path / ours).stat().st_mode) == stat.S_IMODE((tmp_path / ordinary).stat().st_mode)
