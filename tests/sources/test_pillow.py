import sys

import numpy as np
import pytest
from PIL import Image

from offnormal.data.images import read_pixels
from offnormal.errors import ImageError
from offnormal.sources.image import image_size, open_image, to_rgb
from offnormal.sources.once_log import OnceLog
from offnormal.sources.paths import images_in
from offnormal.types import InputSpec

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_without_pillow_heif_a_heic_file_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it was not installed
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (tmp_path / "x.HEIC").write_bytes(HEIC)
    assert images_in(tmp_path) == [tmp_path / "x.HEIC"]
    with pytest.raises(ImageError, match=r"x\.HEIC: a HEIC image, .*pip install 'offnormal\[heic\]'"):
        open_image(tmp_path / "x.HEIC")


def test_with_pillow_heif_a_heic_file_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    array = np.kron(np.array([[60, 200]], "u1"), np.ones((32, 32), "u1"))
    Image.fromarray(np.dstack([array] * 3)).save(tmp_path / "x.heic", quality=95)
    Image.OPEN.pop("HEIF")  # as in a new process
    assert image_size(tmp_path / "x.heic") == (32, 64)
    assert np.abs(np.asarray(to_rgb(open_image(tmp_path / "x.heic")))[..., 0].astype(int) - array).max() < 8


def test_only_the_first_image_of_a_multi_picture_file_is_read_and_this_is_reported_once(tmp_path, caplog):
    first, second = (Image.new("RGB", (32, 32), (value,) * 3) for value in (50, 200))
    for name in ("a.jpg", "b.jpg"):
        first.save(tmp_path / name, "MPO", save_all=True, append_images=[second, second])
    notes = OnceLog()
    for name in ("a.jpg", "b.jpg"):
        pixels = read_pixels(tmp_path / name, InputSpec(size=(32, 32)), notes)
        assert abs(int(pixels.mean()) - 50) < 3
    (record,) = caplog.records
    assert "a.jpg: several images: the file has 3," in record.getMessage()
