import weakref

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from offnormal.data import frame_masks
from offnormal.data.array_files import read_npy
from offnormal.data.frame_labels import parse_labels
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.errors import DataError
from offnormal.types import MaskSource
from tests.data.footage import cells, save_hdf5


@pytest.fixture
def masks():
    return np.random.default_rng(0).random((5, 7, 13)) > 0.6  # no multiple of 8: packing pads


def write(folder, masks, form):
    path = folder / f"a{form.removeprefix('packed').removeprefix('7.3')}"
    if form == "":
        path.mkdir()
        for i, mask in enumerate(masks):
            Image.fromarray(mask.astype(np.uint8) * 255).save(path / f"{i + 8}.png")  # 8, 9, 10: natural order
    elif form == ".npy":
        np.save(path, masks.astype(np.uint8) * 255)
    elif form == ".npz":
        np.savez(path, masks)
    elif form == "packed.npz":
        np.savez(path, other=np.zeros(3), mask_1=np.packbits(masks, axis=-1))
        return MaskSource(path=path, key="mask_1", size=masks.shape[1:])
    elif form == "packed.npy":
        np.save(path, np.packbits(masks, axis=-1))
        return MaskSource(path=path, size=masks.shape[1:])
    elif form == ".mat":
        savemat(path, {"volLabel": cells([mask.astype(np.uint8) for mask in masks])})
    else:
        save_hdf5(path, "volLabel", [mask.astype(np.uint8) for mask in masks])
        return MaskSource(path=path, key="volLabel")
    return MaskSource(path=path)


FORMS = ["", ".npy", ".npz", "packed.npz", "packed.npy", ".mat", "7.3.mat"]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_returns_the_same_masks(tmp_path, masks, form):
    with open_masks(write(tmp_path, masks, form)) as opened:
        assert len(opened) == 5
        for i in (4, 0, 2, -1):
            assert opened[i].dtype == bool
            np.testing.assert_array_equal(opened[i], masks[i])
        assert len(list(opened)) == 5
        with pytest.raises(IndexError):
            opened[5]


def test_a_frame_is_anomalous_if_any_pixel_is(tmp_path, masks):
    masks[[1, 3]] = False
    masks[3, 6, 12] = True
    with open_masks(write(tmp_path, masks, "packed.npz")) as opened:
        assert frame_labels(opened).tolist() == [1, 0, 1, 1, 1]
        assert frame_labels(opened).dtype == np.uint8


def test_a_npy_is_read_one_frame_at_a_time_and_closed(tmp_path, masks, monkeypatch):
    stored = []
    monkeypatch.setattr(
        frame_masks, "read_npy", lambda *args, **options: stored.append(read_npy(*args, **options)) or stored[0]
    )
    with open_masks(write(tmp_path, masks, ".npy")) as opened:
        assert isinstance(stored[0], np.memmap) and opened[0].shape == masks[0].shape
        mapped = weakref.ref(stored.pop())
    assert mapped() is None
    with pytest.raises(ValueError, match="closed"):
        opened[0]


@pytest.mark.parametrize("size", [(7, 17), (7, 8), (8, 13)])
def test_packed_masks_of_another_size_are_rejected(tmp_path, masks, size):
    source = write(tmp_path, masks, "packed.npz")
    with pytest.raises(DataError, match=rf"packed masks of {size[0]}x{size[1]} pixels"):
        open_masks(MaskSource(path=source.path, key=source.key, size=size))


def test_arrays_of_other_shapes_are_rejected(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 4)))
    with pytest.raises(DataError, match=r"masks of shape \(5, 4\).*expected numbers \(T, H, W\)"):
        open_masks(MaskSource(path=tmp_path / "a.npy"))
    savemat(tmp_path / "b.mat", {"volLabel": cells([np.zeros((2, 3)), np.zeros((2, 4))])})
    with pytest.raises(DataError, match="masks of different shapes"):
        open_masks(MaskSource(path=tmp_path / "b.mat"))
    np.savez(tmp_path / "c.npz", np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="2 arrays; expected only the masks"):
        open_masks(MaskSource(path=tmp_path / "c.npz"))


def test_an_empty_folder_and_a_missing_file(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_masks(MaskSource(path=tmp_path / "empty"))
    with pytest.raises(DataError, match="no such file"):
        open_masks(MaskSource(path=tmp_path / "gone.npy"))


@pytest.mark.realdata
def test_real_masks_mark_the_frames_that_are_labeled(real_data):
    path = real_data / "video/labels_only/ucsd_ped2_gt_masks.npz"
    with np.load(path) as stored:
        for clip in ("001", "006", "012"):
            source = MaskSource(path=path, key=f"mask_{clip}_packed", size=tuple(stored[f"shape_{clip}"][1:]))
            with open_masks(source) as opened:
                np.testing.assert_array_equal(frame_labels(opened), parse_labels(stored[f"frame_labels_{clip}"], clip))
