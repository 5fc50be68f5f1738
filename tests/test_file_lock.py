import errno
import threading

import pytest

from offnormal.file_lock import file_lock


def test_a_lock_is_held_by_one(tmp_path):
    path, order = tmp_path / "deep/.lock", []
    with file_lock(path, waits=False):
        with pytest.raises(BlockingIOError), file_lock(path, waits=False):
            pass

        def wait():
            with file_lock(path):
                order.append("second")

        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    with file_lock(path, waits=False):
        assert path.exists()


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(_file, _operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with file_lock(tmp_path / "a"), file_lock(tmp_path / "a"):
        assert (tmp_path / "a").exists()
