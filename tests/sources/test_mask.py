import numpy as np
import pytest
from PIL import Image, ImageFilter

from offnormal.errors import ImageError
from offnormal.sources.mask import open_mask
from tests.sources.test_image import oriented


def saved_mask(path, image, **options):
    image.save(path, **options)
    return open_mask(path)


MARKS = np.array([[0, 1, 0], [0, 1, 1]])


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "RGBA", "LA"])
def test_masks_of_every_mode_mark_non_black_pixels(tmp_path, mode, value):
    if mode == "I;16":
        image = Image.fromarray((MARKS * value).astype(np.uint16))
    elif mode == "1":
        image = Image.fromarray((MARKS * 255).astype(np.uint8)).convert("1")
    else:
        image = Image.fromarray((MARKS * value).astype(np.uint8)).convert(mode)
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", image), MARKS)


def test_masks_in_any_single_color_are_marked(tmp_path):
    for color in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):  # blue of 1 has no luminance
        image = Image.fromarray((MARKS[..., None] * np.array(color)).astype(np.uint8))
        np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", image), MARKS)


def test_transparent_pixels_of_a_mask_are_not_marked(tmp_path):
    image = Image.fromarray(np.dstack([np.full((2, 3, 3), 255), MARKS * 255]).astype(np.uint8))
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", image), MARKS)


@pytest.mark.parametrize(
    ("palette", "indices"),
    [
        ([0, 0, 0, 128, 0, 0], MARKS),  # label colors
        ([0, 0, 0, 0, 0, 1], MARKS),  # nearly black
        ([0, 0, 0, 0, 0, 0], MARKS),  # no colors were given
        ([31, 119, 180, 255, 127, 14], MARKS),  # colors of a plot: no black, so index 0 is the ground
        ([255, 255, 255, 0, 0, 0], 1 - MARKS),  # black and white recompressed with white first
    ],
)
def test_palette_masks(tmp_path, palette, indices):
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(palette)
    assert image.mode == "P"
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", image), MARKS)


def test_jpeg_masks_are_cut_at_half_of_full_scale(tmp_path):
    marks = np.kron(MARKS, np.ones((11, 11))).astype(bool)  # across the blocks of 8, so that black is not quite black
    mask = saved_mask(tmp_path / "x.jpg", Image.fromarray(marks.astype(np.uint8) * 255), quality=60)
    np.testing.assert_array_equal(mask, marks)


def test_masks_are_turned_upright(tmp_path):
    oriented(tmp_path / "x.png", (MARKS * 255).astype(np.uint8), 6)
    np.testing.assert_array_equal(open_mask(tmp_path / "x.png"), np.rot90(MARKS, -1))


BLOB = np.zeros((64, 64), np.uint8)
BLOB[13:37, 21:50] = 1
BLOB[45:56, 5:18] = 1


def test_masks_of_0_and_1_survive_jpeg(tmp_path):
    for quality in (75, 95):
        mask = saved_mask(tmp_path / "x.jpg", Image.fromarray(BLOB), quality=quality)
        assert (mask & (BLOB > 0)).sum() / (mask | (BLOB > 0)).sum() > 0.8


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_the_noise_of_jpeg_is_recognized_whatever_the_name_of_the_file(tmp_path, quality):
    Image.fromarray(BLOB * 255).save(tmp_path / "x.jpg", quality=quality)
    noisy = np.asarray(Image.open(tmp_path / "x.jpg"))
    assert len(np.unique(noisy)) > 8
    (tmp_path / "x.jpg").rename(tmp_path / "renamed.png")
    np.testing.assert_array_equal(open_mask(tmp_path / "renamed.png"), BLOB > 0)
    np.testing.assert_array_equal(saved_mask(tmp_path / "saved_again.png", Image.fromarray(noisy)), BLOB > 0)


def test_every_label_is_marked_however_many_there_are(tmp_path):
    labels = np.kron(np.arange(49).reshape(7, 7), np.ones((6, 6))).astype(np.uint8)
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", Image.fromarray(labels)), labels > 0)
    for values in ([0, 1, 2, 3], [0, 85, 170, 255], [0, 1, 2, 255], [0, 200, 201, 234], [0, 128, 255, 255]):
        labels = np.kron(np.array(values).reshape(2, 2), np.ones((9, 9))).astype(np.uint8)
        np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", Image.fromarray(labels)), labels > 0)
    deep = np.kron(np.array([[0, 1], [300, 4000]]), np.ones((9, 9))).astype(np.uint16)
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.tif", Image.fromarray(deep)), deep > 0)


ROUND = [((12, 12), 8), ((40, 40), 11), ((15, 46), 7), ((52, 12), 5), ((5, 58), 3)]  # centers and radii


def discs(values):
    rows, columns = np.mgrid[:64, :64]
    labels = np.zeros((64, 64), np.uint8)
    for ((row, column), radius), value in zip(ROUND, values, strict=True):
        labels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = value
    return labels


@pytest.mark.parametrize(
    "values",
    [(5, 250, 255, 10, 245), (1, 2, 3, 254, 255), (10, 20, 230, 240, 250), (1, 39, 40, 38, 2)],
)
def test_round_labels_near_0_and_near_each_other_are_not_noise(tmp_path, values):
    labels = discs(values)
    labels[30, 2:20], labels[60, 30:50] = 4, 251  # and thin ones
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.png", Image.fromarray(labels)), labels > 0)


@pytest.mark.parametrize("quality", [60, 75, 90, 95, 100])
@pytest.mark.parametrize("values", [(255,) * 5, (128,) * 5, (128, 255, 128, 255, 128), (85, 170, 255, 85, 170)])
def test_noise_adds_no_region_and_removes_no_label(tmp_path, quality, values):
    from offnormal.data.masks import count_regions

    labels = discs(values)
    Image.fromarray(labels).save(tmp_path / "x.jpg", quality=quality)
    mask = open_mask(tmp_path / "x.jpg")
    assert count_regions(mask) == 5
    assert (mask & (labels > 0)).sum() / (mask | (labels > 0)).sum() > 0.85
    if quality < 100:  # saved again, isolated pixels could be labels
        noisy = np.asarray(Image.open(tmp_path / "x.jpg"))
        np.testing.assert_array_equal(saved_mask(tmp_path / "again.png", Image.fromarray(noisy)), mask)


def test_soft_edges_are_cut_in_the_middle(tmp_path):
    soft = Image.fromarray(BLOB * 255).filter(ImageFilter.GaussianBlur(2))
    mask = saved_mask(tmp_path / "x.png", soft)
    assert abs(int(mask.sum()) - int(BLOB.sum())) < 0.05 * BLOB.sum()
    floats = Image.fromarray(np.asarray(soft, dtype=np.float32) / 255)
    np.testing.assert_array_equal(saved_mask(tmp_path / "x.tif", floats), mask)


def test_masks_that_cannot_be_read_name_the_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"x\.png: the file is empty"):
        open_mask(tmp_path / "x.png")
