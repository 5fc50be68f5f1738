import gzip
from pathlib import Path

import numpy as np
import pytest

from offnormal.errors import ImageError
from offnormal.sources import idx
from offnormal.sources.image import image_depth, image_size, open_image
from tests.data.idx_files import idx_bytes, write_idx

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.fixture(params=["a-images-idx3-ubyte.gz", "a-images.idx3-ubyte"])
def file(request, tmp_path):
    return write_idx(tmp_path / request.param, IMAGES)


def test_an_image_inside_opens_like_a_file(file):
    assert np.array_equal(np.asarray(open_image(file / "2")), IMAGES[2])
    assert image_size(file / "2") == (4, 5)
    assert image_depth(file / "2") is None


def test_paths_of_images_are_parsed(file):
    assert idx.is_idx(file)
    assert idx.parse_address(file / "12") == (file, 12)
    for path in (file, file / "x", file / "1.png", Path("1"), Path("folder/1")):
        assert idx.parse_address(path) is None


def test_every_image_has_its_own_path(file):
    assert idx.list_images(file) == [file / "0", file / "1", file / "2"]


def test_a_changed_file_is_read_again(file):
    assert idx.read_image(file, 0).max() == IMAGES[0].max()
    write_idx(file, np.concatenate([IMAGES + 1, IMAGES]))
    assert np.array_equal(idx.read_image(file, 0), IMAGES[0] + 1)


def test_a_number_beyond_the_last_is_an_error(file):
    with pytest.raises(ImageError, match=r"/3: no such image"):
        open_image(file / "3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it starts with nothing"),
        (b"\x89PNG and more", "not an IDX file"),
        (bytes((0, 0, 13, 3)) + b"\0" * 12, "not an IDX file of bytes"),
        (idx_bytes(IMAGES)[:-1], "fewer bytes than the 60"),
        (idx_bytes(IMAGES) + b"x", "more bytes than the 60"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "states"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files_are_named(tmp_path, content, message, packed):
    file = tmp_path / f"t-images-idx3-ubyte{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ImageError, match=rf"t-images.*{message}"):
        open_image(file / "0")


def test_truncated_archives_missing_files_and_labels_are_errors(tmp_path):
    file = write_idx(tmp_path / "t-images-idx3-ubyte.gz", np.random.default_rng(0).integers(0, 255, (9, 20, 20)))
    file.write_bytes(file.read_bytes()[:-900])
    with pytest.raises(ImageError, match="damaged or truncated"):
        open_image(file / "0")
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path / "no-images-idx3-ubyte" / "0")
    with pytest.raises(ImageError, match="expected a 3-D array of images"):
        idx.list_images(write_idx(tmp_path / "t-labels-idx1-ubyte", np.arange(3)))
