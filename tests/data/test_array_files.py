import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from offnormal.data.array_files import Archive, read_mat, read_npy
from offnormal.data.mat_process import MatProcess
from offnormal.errors import DataError
from tests.data.footage import cells, save_hdf5


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a data file was run')",))


def test_npy_whole_and_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), [[0, 1, 2], [3, 4, 5]])
    assert isinstance(read_npy(tmp_path / "a.npy", mapped=True), np.memmap)


@pytest.mark.parametrize("mapped", [False, True])
def test_objects_are_never_unpickled_and_the_error_gives_advice(tmp_path, mapped):
    np.save(tmp_path / "a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: contains Python objects.*numpy\.save"):
        read_npy(tmp_path / "a.npy", mapped=mapped)
    np.savez(tmp_path / "a.npz", x=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match=r"a\.npz: contains Python objects"):
        Archive(tmp_path / "a.npz").read("x")


def test_an_archive_returns_arrays_and_shapes_by_name(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{"x 1": np.zeros((2, 3)), "y": np.ones(4, bool)})
    archive = Archive(tmp_path / "a.npz")
    assert archive.names == ("x 1", "y")
    assert archive.shape("x 1") == (2, 3)
    assert archive.read("y").all()
    with pytest.raises(DataError, match="no array 'z'; the file contains x 1, y"):
        archive.read("z")


def test_an_array_and_an_archive_are_not_confused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(2))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"rename it to \.npz"):
        read_npy(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros(2))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"rename it to \.npy"):
        Archive(tmp_path / "b.npz")


def write_mat(path, key, value, version):
    if version == "7.3":
        save_hdf5(path, key, value)
    else:
        savemat(path, {key: cells(value) if isinstance(value, list) else value}, do_compression=version == "7")


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_matlab_arrays_and_cells_have_the_axes_and_order_of_matlab(tmp_path, version):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    write_mat(tmp_path / "a.mat", "x", array, version)
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", "x"), array)
    expected = [array, array[:, :1] + 7, np.zeros((0, 0), np.uint8)]
    write_mat(tmp_path / "b.mat", "x", expected, version)
    result = read_mat(tmp_path / "b.mat", "x")
    assert [cell.shape for cell in result] == [(2, 3), (2, 1), (0, 0)]
    for array, expected_array in zip(result, expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_missing_variable_is_named(tmp_path, version):
    write_mat(tmp_path / "a.mat", "x", np.zeros((1, 2)), version)
    with pytest.raises(DataError, match="no variable 'gt'"):
        read_mat(tmp_path / "a.mat", "gt")


@pytest.mark.parametrize("value", ["words", {"field": 1}])
def test_variables_without_numbers_are_rejected(tmp_path, value):
    savemat(tmp_path / "a.mat", {"x": value})
    with pytest.raises(DataError, match="'x' has no numbers"):
        read_mat(tmp_path / "a.mat", "x")


def test_a_group_in_hdf5_is_rejected(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["x/y"] = np.zeros(3)
    with pytest.raises(DataError, match="'x' has no numbers"):
        read_mat(tmp_path / "a.mat", "x")


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00\xff\xff{", b"PK\x03\x04 cut short"])
def test_damaged_files_are_named(tmp_path, content):
    for name, reader in (("a.npy", read_npy), ("a.npz", Archive), ("a.mat", lambda path: read_mat(path, "x"))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            reader(tmp_path / name)


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_a_truncated_matlab_file_is_named(tmp_path, version):
    write_mat(tmp_path / "a.mat", "x", np.random.default_rng(0).random((40, 40)), version)
    whole = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.mat"):
        read_mat(tmp_path / "a.mat", "x")


def test_missing_files_are_named(tmp_path):
    for reader in (read_npy, Archive, lambda path: read_mat(path, "x")):
        with pytest.raises(DataError, match="gone: no such file"):
            reader(tmp_path / "gone")


def cases():
    return sorted((Path(os.environ["OFFNORMAL_TEST_DATA"]).parent / "cases").glob("label_*"))


@pytest.mark.skipif("OFFNORMAL_TEST_DATA" not in os.environ, reason="OFFNORMAL_TEST_DATA is not set")
def test_damaged_files_that_crashed_readers_are_named():
    files = cases()
    assert files
    for path in files:
        with pytest.raises(DataError, match=f"{path.name}: (damaged|cannot be read)"):
            if path.suffix == ".npz":
                archive = Archive(path)
                archive.read(archive.names[-1])
            else:
                read_npy(path) if path.suffix == ".npy" else read_mat(path, "l")


def npy(header, content=b""):
    text = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + content


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1000000), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1.5,), }",
        "{'descr': 'x', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'shape': (1,), }",
        "((((((((((((((((((((((((",
        "[1",
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_headers_that_claim_the_impossible_are_refused(tmp_path, header, mapped):
    (tmp_path / "a.npy").write_bytes(npy(header, b"12345678"))
    with pytest.raises(DataError, match=r"a\.npy: damaged"):
        read_npy(tmp_path / "a.npy", mapped=mapped)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as stored:
        stored.writestr("x.npy", npy(header, b"12345678"))
    with pytest.raises(DataError, match=r"a\.npz: damaged"):
        Archive(tmp_path / "a.npz").read("x")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a")
    for reader in (read_npy, Archive, lambda path: read_mat(path, "x")):
        with pytest.raises(DataError, match="is a named pipe; expected a regular file"):
            reader(tmp_path / "a")
        with pytest.raises(DataError, match="is a device; expected a regular file"):
            reader(Path("/dev/zero"))
        with pytest.raises(DataError, match="is a folder; expected a regular file"):
            reader(tmp_path)


def test_data_of_hdf5_is_read_from_no_other_file(tmp_path):
    import h5py

    (tmp_path / "secret").write_bytes(bytes(80))
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["x"] = np.zeros(3)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "b.mat"), "x")
        file.create_dataset("x", (10,), "f8", external=[(str(tmp_path / "secret"), 0, 80)])
    for key in ("link", "x"):
        with pytest.raises(DataError, match="is stored in another file"):
            read_mat(tmp_path / "a.mat", key)


def test_the_process_that_reads_mat_files_is_kept_and_replaced_after_a_crash(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.ones((1, 2))})
    reader = MatProcess()
    reader.read(tmp_path / "a.mat", "x")
    first = reader._process
    reader.read(tmp_path / "a.mat", "x")
    assert reader._process is first
    first.send_signal(signal.SIGSTOP)
    stopped = threading.Timer(0.1, first.kill)
    stopped.start()
    with pytest.raises(DataError, match=r"a\.mat: damaged: it crashes the reader"):
        reader.read(tmp_path / "a.mat", "x")
    assert reader.read(tmp_path / "a.mat", "x").tolist() == [[1, 1]]
    reader._process.send_signal(signal.SIGSTOP)
    reader._limit_s = 0.1
    with pytest.raises(DataError, match=r"reading took more than 0\.1 s"):
        reader.read(tmp_path / "a.mat", "x")


def test_the_process_that_reads_mat_files_imports_no_torch():
    from offnormal.data import mat_reader

    source = Path(mat_reader.__file__).read_text(encoding="utf-8")
    code = "import sys; exec(sys.stdin.read()); assert 'torch' not in sys.modules and 'offnormal' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], input=source.replace('"__main__"', '"-"'), text=True, check=True)
