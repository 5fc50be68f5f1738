"""Arrays from .npy, .npz and .mat files that others wrote: nothing in them is ever executed."""

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
    """The array of a .npy file, or, mapped, a read-only view whose parts are read when they are used.

    Raises DataError for a file that is missing, damaged or holds Python objects.
    """
    with _explained(path):
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise DataError(f"{path}: an archive of arrays (.npz), not one array; rename it to .npz")
        return found


class Archive:
    """A .npz file whose arrays are read when asked for; DataError as `read_npy` raises it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: one array (.npy), not an archive of them; rename it to .npy")
            with stored:
                self.names = tuple(stored.files)

    def read(self, name: str) -> np.ndarray:
        """One array by its name."""
        if name not in self.names:
            raise DataError(f"{self.path}: no array {name!r} in it; there are {', '.join(self.names[:8])}")
        with _explained(self.path), np.load(self.path, allow_pickle=False) as stored:
            found: np.ndarray = stored[name]
            return found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one array, from its header alone."""
        with _explained(self.path), zipfile.ZipFile(self.path) as stored, stored.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return tuple(read(file)[0])


def read_mat(path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    """A variable of a MATLAB file: a numeric array with MATLAB's axes, or of a cell array the list of its arrays.

    Reads files of MATLAB 4 to 7.2 and of 7.3 (HDF5, whose axes are stored in reverse). Cells are in MATLAB's
    order. Raises DataError for a file that is missing or damaged, without the variable, or of other content.
    """
    import h5py

    with _explained(path):
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
    if value.attrs.get("MATLAB_empty", 0):  # then the content is the shape
        return np.zeros(tuple(int(side) for side in value[()]), dtype=np.uint8)
    return _numeric(np.asarray(value[()]).T, path, key)


def _numeric(value: object, path: Path, key: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "buif":
        raise _not_numbers(path, key)
    return value


def _no_variable(path: Path, key: str) -> DataError:
    return DataError(f"{path}: no variable {key!r} in this MATLAB file; is it of another dataset?")


def _not_numbers(path: Path, key: str) -> DataError:
    return DataError(f"{path}: {key!r} is neither an array of numbers nor a cell array of such; save it as one")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _DAMAGED as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which could run code when they are read. If you trust the file, "
                "convert it once: values = numpy.load(FILE, allow_pickle=True); for labels numpy.save(FILE, "
                "numpy.concatenate([numpy.ravel(v) for v in values]).astype('uint8')), for masks save one file a video"
            ) from None
        raise DataError(f"{path}: damaged, or not the kind of file its name says ({error})") from None
