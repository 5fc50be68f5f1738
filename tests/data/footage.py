"""Small videos, folders of frames and label files, for tests."""

from pathlib import Path

import av
import h5py
import numpy as np
from PIL import Image


def write_video(path: Path, frames: int = 6, *, fps: int = 10, size: tuple[int, int] = (32, 48)) -> Path:
    """Write a video of gray frames; size: (H, W); the suffix chooses the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            image = np.full((*size, 3), 20 * i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def clip(folder: Path, frames: int = 6, *, start: int = 1, suffix: str = ".tif", marked: range | None = None) -> Path:
    """Write a folder of 4x6 images 001, 002, ...; those in `marked` (from 0) have a white pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(frames):
        image = np.zeros((4, 6), np.uint8)
        image[1, 2] = 255 * (marked is not None and i in marked)
        Image.fromarray(image).save(folder / f"{start + i:03}{suffix}")
    return folder


def cells(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays as `scipy.io.savemat` needs them to write a 1 x N cell array."""
    row = np.empty((1, len(arrays)), dtype=object)
    for i, array in enumerate(arrays):
        row[0, i] = array
    return row


def save_hdf5(path: Path, key: str, value: np.ndarray | list[np.ndarray]) -> None:
    """Write a MATLAB 7.3 file like MATLAB: a user block before HDF5, reversed axes, cells by reference."""
    with h5py.File(path, "w", userblock_size=512) as file:
        if isinstance(value, np.ndarray):
            file[key] = value.T
            return
        refs = np.empty((len(value), 1), dtype=h5py.ref_dtype)
        for i, array in enumerate(value):
            stored = file.create_dataset(
                f"#refs#/{i}", data=array.T if array.size else np.array(array.shape, np.uint64)
            )
            if not array.size:
                stored.attrs["MATLAB_empty"] = 1
            refs[i, 0] = stored.ref
        file.create_dataset(key, data=refs, dtype=h5py.ref_dtype)
    with path.open("r+b") as stored_file:
        stored_file.write(b"MATLAB 7.3 MAT-file")
