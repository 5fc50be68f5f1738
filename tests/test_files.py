import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from offnormal import files
from offnormal.errors import OffnormalError, UsageError
from offnormal.files import check_outputs, hidden_sibling, new_file, new_folder, restore_folder, sweep, write_text


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
    with path.open() as reader:  # another program, which never sees half a file
        with new_file(path) as partial:
            partial.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new" and reader.read() == "old"


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


def test_a_folder_is_replaced_in_one_step_where_the_system_can(tmp_path, monkeypatch):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    monkeypatch.setattr(Path, "replace", failing(errno.EACCES))
    if not files._exchange(path, path):
        pytest.skip("this file system cannot swap two folders")
    with new_folder(path) as partial:
        (partial / "new").touch()
    assert listing(tmp_path) == ["bundle", "new"]


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
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)  # as on a file system that cannot
    with pytest.raises((OffnormalError, KeyboardInterrupt)), new_folder(path) as partial:
        (partial / "new").touch()
    remaining = listing(tmp_path)
    assert remaining[-1] == "old"
    assert "new" not in remaining
    assert (remaining[0] == "bundle") == (stuck == (".partial",))


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_folder_that_a_killed_program_moved_aside_is_restored(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for name in ("runs.1", "runs.2"):
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name).replace(files._old_of(tmp_path / name))
    for name in ("runs.2", "runs.1"):
        restore_folder(tmp_path / name)
        assert listing(tmp_path / name) == [name] and f"{tmp_path / name}: restored" in caplog.text
    (tmp_path / "runs.1").replace(files._old_of(tmp_path / "runs.1"))
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "runs.1"):
        raise ZeroDivisionError
    with new_folder(tmp_path / "runs.1") as partial:
        (partial / "new").touch()
    assert listing(tmp_path) == ["new", "runs.1", "runs.2", "runs.2"]
    shutil.copytree(tmp_path / "runs.2", files._old_of(tmp_path / "runs.2"))  # killed just before its removal
    with new_folder(tmp_path / "runs.2") as partial:
        (partial / "newer").touch()
    assert listing(tmp_path) == ["new", "newer", "runs.1", "runs.2"]
    restore_folder(tmp_path / "none")


def test_files_and_folders_have_ordinary_permissions(tmp_path):
    write_text(tmp_path / "x", "new")
    with new_folder(tmp_path / "bundle"):
        pass
    (tmp_path / "ordinary").mkdir()
    (tmp_path / "ordinary.txt").touch()
    for ours, ordinary in (("x", "ordinary.txt"), ("bundle", "ordinary")):
        assert stat.S_IMODE((tmp_path / ours).stat().st_mode) == stat.S_IMODE((tmp_path / ordinary).stat().st_mode)


def test_permissions_are_those_of_the_umask_whatever_wrote_the_file(tmp_path):
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "x.bin") as partial:
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))  # as some libraries create files
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.bin").stat().st_mode) == 0o640


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data/real.csv", tmp_path / "scores.csv"
    target.write_text("old")
    link.symlink_to("data/real.csv")
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and listing(tmp_path / "data") == ["real.csv"]
    folder = tmp_path / "bundle"
    folder.symlink_to("data")
    with new_folder(folder) as partial:
        (partial / "model").touch()
    assert folder.is_symlink() and listing(tmp_path / "data") == ["model"]


def test_a_link_to_a_missing_folder_creates_no_folder(tmp_path):
    (tmp_path / "x.csv").symlink_to(tmp_path / "unmounted/x.csv")
    with pytest.raises(OffnormalError, match=r"is a link to .*, whose folder is missing; create it"):
        write_text(tmp_path / "x.csv", "new")
    assert not (tmp_path / "unmounted").exists()


def test_a_pipe_is_written_through(tmp_path):
    pipe, texts = tmp_path / "pipe.csv", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: texts.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "new")
    reader.join(10)
    assert texts == ["new"] and stat.S_ISFIFO(pipe.stat().st_mode) and listing(tmp_path) == ["pipe.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_reported_and_stays_a_device():
    with pytest.raises(OffnormalError, match=r"/dev/full: the disk is full; nothing was changed\. Free some"):
        write_text(Path("/dev/full"), "new")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize(("name", "to_file"), [("-", False), ("/dev/stdout", True)])
def test_stdout_has_names(tmp_path, name, to_file):
    code = (
        "import sys\nfrom pathlib import Path\nfrom offnormal.files import write_text\n"
        "print('before'); write_text(Path(sys.argv[1]), 'new\\n'); print('after')"
    )
    with (tmp_path / "out").open("w+b") as file:
        program = [sys.executable, "-c", code, name]
        done = subprocess.run(program, stdout=file if to_file else subprocess.PIPE, check=True, cwd=tmp_path)
    text = (tmp_path / "out").read_bytes() if to_file else done.stdout
    assert text == b"before\nnew\nafter\n" and listing(tmp_path) == ["out"]


def test_folders_that_were_made_for_nothing_are_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "a/b/x.csv"):
        1 / 0  # noqa: B018
    assert listing(tmp_path) == []
    with pytest.raises(OffnormalError, match="Is a directory"), new_file(tmp_path):
        pytest.fail("an existing folder is reported first")


def test_an_error_about_another_file_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"elsewhere/in\.png"), new_file(tmp_path / "x.csv"):
        (tmp_path / "elsewhere/in.png").read_bytes()


@pytest.mark.parametrize("kind", ["same", "symlink", "hard link"])
def test_an_output_that_is_an_input_is_refused(tmp_path, kind):
    (tmp_path / "in").mkdir()
    image, output = tmp_path / "in/a.png", tmp_path / "out.csv"
    image.write_bytes(b"image")
    if kind == "same":
        output = image
    elif kind == "symlink":
        output.symlink_to(image)
    else:
        os.link(image, output)
    for inputs in ([image], [tmp_path / "in"]):
        with pytest.raises(UsageError, match=r"--csv .* would overwrite the input .*a\.png; choose another path"):
            check_outputs([("--csv", output)], inputs)
    check_outputs([("--csv", tmp_path / "other.csv"), ("--out", None)], [tmp_path / "in"])
    assert image.read_bytes() == b"image"


def test_two_outputs_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    for first, second in (("a", "link"), ("new", "sub/../new")):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=r"--b .* is the same file as --a"):
            check_outputs([("--a", tmp_path / first), ("--b", tmp_path / second)], [])
    with pytest.raises(UsageError, match="is the same file"):
        check_outputs([("--a", Path("-")), ("--b", Path("-"))], [])
    check_outputs([("--a", Path(os.devnull)), ("--b", Path(os.devnull)), ("--c", tmp_path)], [])


def test_files_of_killed_programs_are_swept_and_no_others(tmp_path, killed):
    left = [killed(tmp_path / "scores.csv", "partial.csv"), killed(tmp_path / "bundle", "partial")]
    left[0].write_text("half")
    (left[1] / "inner").mkdir(parents=True)
    ours = hidden_sibling(tmp_path / "scores.csv", "partial.csv")
    elsewhere = left[0].with_name(left[0].name.replace(f".{files._host()}-", ".00000000-"))  # of another computer
    others = [tmp_path / ".notes.partial", tmp_path / "scores.csv", tmp_path / ".download.1234.partial"]
    for path in (ours, elsewhere, *others):
        path.write_text("keep")
    write_text(tmp_path / "x.txt", "the first file that is written here")
    assert sorted(tmp_path.iterdir()) == sorted([ours, elsewhere, *others, tmp_path / "x.txt"])
    deep = killed(tmp_path / "runs/a/checkpoints/last", "partial")
    deep.mkdir(parents=True)
    sweep(tmp_path, depth=2)
    assert deep.exists()
    sweep(tmp_path, depth=3)
    assert not deep.exists() and deep.parent.exists()


def test_without_a_free_descriptor_no_program_counts_as_killed(tmp_path, killed, monkeypatch):
    ours, left = hidden_sibling(tmp_path / "a.csv", "partial"), killed(tmp_path / "b.csv", "partial")

    def refuse(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert hidden_sibling(tmp_path / "c.csv", "partial").name.split("-")[1:3] == ours.name.split("-")[1:3]
    for path in (ours, left):
        path.touch()
    sweep(tmp_path)
    assert ours.exists() and left.exists()


def test_a_process_that_got_the_number_of_a_killed_one_protects_nothing(tmp_path):
    ours = hidden_sibling(tmp_path / "x", "partial")
    start = files._start_of(os.getpid())
    ours.with_name(ours.name.replace(f"-{start}-", f"-{start - 1}-")).touch()
    sweep(tmp_path)
    assert listing(tmp_path) == []


def test_what_programs_in_other_containers_write_stays_for_a_week(tmp_path, killed):
    theirs = [killed(tmp_path / name, "partial") for name in ("live", "left")]
    theirs = [path.with_name(path.name.replace(f".{files._host()}-", ".00000000-")) for path in theirs]
    for path in theirs:
        path.mkdir()
    os.utime(theirs[1], (0, time.time() - 8 * 24 * 3600))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == theirs[:1]


def test_a_container_is_not_taken_for_another_one_of_the_same_name(monkeypatch):
    names = set()
    for number in (1, 2):
        files._host.cache_clear()
        monkeypatch.setattr(Path, "stat", lambda *_args, number=number, **_options: SimpleNamespace(st_ino=number))
        names.add(files._host())
    monkeypatch.undo()
    files._host.cache_clear()
    assert len(names) == 2


def test_damaged_files_get_names_that_say_so(tmp_path):
    for number, name in enumerate(["gate.json.damaged", "gate.json.damaged-2", "gate.json.damaged-3"]):
        (tmp_path / "gate.json").write_text(str(number))
        assert files.set_aside(tmp_path / "gate.json") == tmp_path / name
        assert (tmp_path / name).read_text() == str(number)
