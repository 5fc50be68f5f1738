"""Reads arrays from untrusted .npy, .npz, and .mat files without executing anything in them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from offnormal.errors import DataError

_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, IndexError, zlib.error, zipfile.BadZipFile)


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file; with `mapped` a read-only memory map.

    Raises DataError for a file that is missing, damaged, or contains Python objects.
    """
    with _explain_errors(path):
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: an archive of arrays (.npz); expected a single array (.npy); rename it to .npz")
        return array


class Archive:
    """A .npz file whose arrays are read on demand; DataError as in `read_npy`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explain_errors(path):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array (.npy); expected an archive (.npz); rename it to .npy")
            with stored:
                self.names = tuple(stored.files)

    def read(self, name: str) -> np.ndarray:
        """Return one array by name."""
        if name not in self.names:
            raise DataError(f"{self.path}: no array {name!r}; the file contains {', '.join(self.names[:8])}")
        with _explain_errors(self.path), np.load(self.path, allow_pickle=False) as stored:
            array: np.ndarray = stored[name]
            return array

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array; reads only its header."""
        with _explain_errors(self.path), zipfile.ZipFile(self.path) as stored, stored.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return tuple(np.lib.format.read_array_header_1_0(file)[0])
            return tuple(np.lib.format.read_array_header_2_0(file)[0])


def read_mat(path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    """Return a variable of a MATLAB file: a numeric array with MATLAB's axes, or the list of arrays of a cell array.

    Reads files of MATLAB 4 to 7.2 and of 7.3 (HDF5, with reversed axes). Cells are in MATLAB's order. Raises DataError
    for a file that is missing or damaged, or that has no such variable or another type of content.
    """
    import h5py

    with _explain_errors(path):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        return _read_hdf5(path, key) if h5py.is_hdf5(path) else _read_old(path, key)


def _read_old(path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    from scipy.io import loadmat  # half a second
    from scipy.io.matlab import MatReadError

    try:
        stored = loadmat(str(path), variable_names=[key])
    except (MatReadError, NotImplementedError) as error:
        raise DataError(f"{path}: damaged, or not a MATLAB file ({error})") from None
    if key not in stored:
        raise _no_variable(path, key)
    value = stored[key]
    if value.dtype == object:
        return [_numeric(cell, path, key) for cell in value.ravel(order="F")]
    return _numeric(value, path, key)


def _read_hdf5(path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        if key not in file:
            raise _no_variable(path, key)
        value = file[key]
        if not isinstance(value, h5py.Dataset):
            raise _not_numbers(path, key)
        if h5py.check_ref_dtype(value.dtype) is None:
            return _from_hdf5(value, path, key)
        return [_from_hdf5(file[cell], path, key) for cell in value[()].ravel()]  # reversed axes: already F order


def _from_hdf5(value: object, path: Path, key: str) -> np.ndarray:
    import h5py

    if not isinstance(value, h5py.Dataset):
        raise _not_numbers(path, key)
    if value.attrs.get("MATLAB_empty", 0):  # the content of an empty array is its shape
        return np.zeros(tuple(int(side) for side in value[()]), dtype=np.uint8)
    return _numeric(np.asarray(value[()]).T, path, key)


def _numeric(value: object, path: Path, key: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "buif":
        raise _not_numbers(path, key)
    return value


def _no_variable(path: Path, key: str) -> DataError:
    return DataError(f"{path}: no variable {key!r}; expected the file of this dataset; check that it is the right one")


def _not_numbers(path: Path, key: str) -> DataError:
    return DataError(f"{path}: {key!r} has no numbers; expected a numeric array or a cell array of them")


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _DAMAGED as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: contains Python objects, which can run code when they are loaded. If you trust the file, "
                "convert it once: values = numpy.load(FILE, allow_pickle=True); for labels: numpy.save(FILE, "
                "numpy.concatenate([numpy.ravel(v) for v in values]).astype('uint8')); for masks: one file per video"
            ) from None
        raise DataError(f"{path}: damaged, or not the file type of its suffix ({error})") from None
