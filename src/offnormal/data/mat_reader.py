"""Reads variables of MATLAB files. Runs as a separate process, because damaged files crash the libraries for them.

Reads one request per line, JSON [path, variable]. Answers with a line of JSON: {"error": text}, or {"cell": bool,
"sizes": [bytes, ...]} and then one .npy file per array. Imports nothing of offnormal, so that it starts fast.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MEMORY_BYTES = 4 << 30  # the masks of a long video take some hundred megabytes


class RequestError(Exception):
    """The answer to a request that cannot be fulfilled."""


def read_variable(path: str, key: str) -> np.ndarray | list[np.ndarray]:
    """Return a numeric array with MATLAB's axes, or the arrays of a cell array in MATLAB's order."""
    return _read_hdf5(path, key) if _is_hdf5(path) else _read_old(path, key)


def _is_hdf5(path: str) -> bool:
    """Whether the signature is at one of the offsets that the format permits, up to 64 KiB."""
    with open(path, "rb") as file:  # noqa: PTH123 - a path that may not be Unicode
        for offset in (0, *(512 << power for power in range(8))):
            file.seek(offset)
            if file.read(len(_HDF5)) == _HDF5:
                return True
    return False


def _read_old(path: str, key: str) -> np.ndarray | list[np.ndarray]:
    from scipy.io import loadmat

    stored = loadmat(path, variable_names=[key], appendmat=False)
    if key not in stored:
        raise _no_variable(key)
    value = stored[key]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_numeric(cell, key) for cell in value.ravel(order="F")]
    return _numeric(value, key)


def _read_hdf5(path: str, key: str) -> np.ndarray | list[np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        if key not in file:
            raise _no_variable(key)
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):
            raise RequestError(f"{key!r} is stored in another file; expected one file with all data")
        value = file[key]
        if isinstance(value, h5py.Dataset) and h5py.check_ref_dtype(value.dtype) is not None:
            cells = value[()].ravel()  # reversed axes: already F order
            return [_from_hdf5(file[cell], key) for cell in cells]
        return _from_hdf5(value, key)


def _from_hdf5(value: Any, key: str) -> np.ndarray:
    import h5py

    if not isinstance(value, h5py.Dataset) or value.dtype.kind not in "buif":
        raise _not_numbers(key)
    if value.external or value.is_virtual:
        raise RequestError(f"{key!r} is stored in another file; expected one file with all data")
    if value.attrs.get("MATLAB_empty", 0):  # the content of an empty array is its shape
        return np.zeros(tuple(int(side) for side in value[()]), dtype=np.uint8)
    return _numeric(np.asarray(value[()]).T, key)


def _numeric(value: Any, key: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "buif":
        raise _not_numbers(key)
    return value


def _no_variable(key: str) -> RequestError:
    return RequestError(f"no variable {key!r}; expected the file of this dataset; check that it is the right one")


def _not_numbers(key: str) -> RequestError:
    return RequestError(f"{key!r} has no numbers; expected a numeric array or a cell array of them")


def _answers(path: str, key: str) -> Iterator[bytes]:
    try:
        value = read_variable(path, key)
        arrays = value if isinstance(value, list) else [value]
        blobs = []
        for array in arrays:
            blob = io.BytesIO()
            np.save(blob, array, allow_pickle=False)
            blobs.append(blob.getvalue())
    except RequestError as error:
        yield _line({"error": str(error)})
    except Exception as error:  # noqa: BLE001 - the libraries raise anything for damaged files
        reason = str(error) or type(error).__name__
        yield _line({"error": f"damaged, or not a MATLAB file ({reason})"})
    else:
        yield _line({"cell": isinstance(value, list), "sizes": [len(blob) for blob in blobs]})
        yield from blobs


def _line(values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


def main() -> None:
    """Answer requests until the standard input is closed."""
    warnings.simplefilter("ignore")
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        pass  # this system has no such limits
    output = sys.stdout.buffer
    for line in sys.stdin.buffer:
        for answer in _answers(*json.loads(line)):
            output.write(answer)
        output.flush()


if __name__ == "__main__":
    main()
