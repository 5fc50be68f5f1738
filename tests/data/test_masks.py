import doctest

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from offnormal.data import masks
from offnormal.data.masks import MaskSummary, check_mask, count_regions, read_mask, scale_mask
from offnormal.errors import DataError, name_some
from offnormal.sources.mask import open_mask
from offnormal.types import InputSpec, Resize

SPEC = InputSpec(size=(8, 12))
LETTERBOX = InputSpec(size=(32, 48), resize=Resize(policy="letterbox"))
CENTER = InputSpec(size=(32, 32), resize=Resize(policy="short_side", short_side=32))


def test_doctests():
    assert doctest.testmod(masks).failed == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_of_every_mode(tmp_path, mode):
    marks = np.zeros((8, 12), np.uint8)
    marks[2:5, 3:7] = 1
    image = Image.fromarray(marks if mode in ("P", "I;16") else marks * 255)
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 128])
    image = Image.fromarray(marks.astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", SPEC, image_size=(8, 12)), marks > 0)


@pytest.mark.parametrize("row", range(8))
def test_scratches_of_one_pixel_keep_their_length_wherever_they_are(row):
    scratches = np.zeros((64, 64), np.bool_)
    scratches[row, 4:44] = True
    scratches[20 + row : 60, 50 + row // 4] = True
    scaled = scale_mask(scratches, (16, 16))
    assert count_regions(scaled) == 2
    assert scaled[row // 4].sum() == 10
    assert scaled[:, (50 + row // 4) // 4].sum() in range(8, 12)


def naive_scale(marked, size):
    """Half of the area of each target pixel, and the best pixels of every region without one."""
    rows = [int((y + 0.5) * size[0] / marked.shape[0]) for y in range(marked.shape[0])]
    columns = [int((x + 0.5) * size[1] / marked.shape[1]) for x in range(marked.shape[1])]
    area, covered = np.zeros(size), np.zeros(size)
    regions, count = ndimage.label(marked, structure=np.ones((3, 3)))
    by_region = np.zeros((count + 1, *size))
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            area[row, column] += 1
            covered[row, column] += marked[y, x]
            by_region[regions[y, x], row, column] += 1
    scaled = covered >= 0.5 * area
    result = scaled.copy()
    for region in range(1, count + 1):
        share = by_region[region] / area
        if not (scaled & (share > 0)).any():
            result |= share >= max(share.max() / 2, 1e-9)
    return result


@pytest.mark.parametrize("size", [(16, 16), (7, 11), (20, 5), (40, 33)])
@pytest.mark.parametrize("density", [0.02, 0.2, 0.6])
def test_masks_are_reduced_as_by_the_naive_rule_and_no_region_is_lost(size, density):
    marked = np.random.default_rng(0).random((40, 33)) < density
    scaled = scale_mask(marked, size)
    np.testing.assert_array_equal(scaled, naive_scale(marked, size))
    regions, _ = ndimage.label(marked, structure=np.ones((3, 3)))
    rows, columns = (np.arange(n) * 2 + 1 for n in marked.shape)
    covering = scaled[rows[:, None] * size[0] // 80, columns * size[1] // 66]
    assert set(np.unique(regions[covering & marked])) == set(range(1, regions.max() + 1))


def test_masks_are_enlarged_to_blocks():
    marked = np.random.default_rng(0).random((5, 7)) < 0.4
    np.testing.assert_array_equal(scale_mask(marked, (10, 21)), np.kron(marked, np.ones((2, 3))) > 0)


def test_padding_is_not_marked_and_a_crop_keeps_the_center():
    mask, _ = check_mask(np.ones((20, 80), np.bool_), LETTERBOX, "m.png")
    assert mask.sum() == 12 * 48
    assert mask[10:22].all()
    wide = np.zeros((64, 128), np.bool_)
    wide[:, 32:96] = True
    assert check_mask(wide, CENTER, "m.png")[0].all()


def test_a_smaller_mask_of_the_same_shape_is_scaled_and_another_shape_refused():
    marked = np.zeros((32, 43), np.bool_)  # of 64x85, rounded
    marked[8:16, 20:30] = True
    mask, check = check_mask(marked, SPEC, "m.png", image_size=(64, 85))
    np.testing.assert_array_equal(mask, check_mask(marked, SPEC, "m.png")[0])
    assert check.scaled_from == ((32, 43), (64, 85))
    (note,) = mask_notes([check])
    assert note == "1 of 1 mask has another size than its image, and was scaled: m.png (the first from 32x43 to 64x85)"
    for size in ((43, 32), (32, 64), (64, 64)):
        with pytest.raises(DataError, match=rf"m\.png: the mask has 32x43 pixels, its image {size[0]}x{size[1]}; exp"):
            check_mask(marked, SPEC, "m.png", image_size=size)


def mask_notes(checks):
    summary = MaskSummary()
    for check in checks:
        summary.add(check)
    return summary.notes()


def checked(name, marked, label=1):
    return check_mask(np.asarray(marked, np.bool_), InputSpec(size=np.shape(marked)), name, label=label)[1]


def test_masks_that_mark_nothing_too_much_or_the_wrong_image_are_named():
    part = np.eye(8)
    checks = [checked(f"{number}.png", part) for number in range(5)]
    assert mask_notes(checks) == []
    assert mask_notes([*checks, checked("empty.png", np.zeros((8, 8)))]) == [
        "1 of 6 masks marks no pixel, though its image is anomalous: empty.png"
    ]
    assert mask_notes([*checks, checked("good.png", np.zeros((8, 8)), label=0)]) == []
    assert mask_notes([checked("good.png", part, label=0)]) == [
        "1 of 1 mask marks pixels, though its image is normal: good.png"
    ]
    inverted = [checked(f"{number}.png", 1 - np.pad(np.ones((2, 2)), 3)) for number in range(4)]
    assert mask_notes(inverted) == [
        "4 of 4 masks mark more than half of the pixels, and the border, as if the anomalies were black on white: "
        "0.png, 1.png, 2.png, and 1 more; if they are, invert the masks"
    ]
    large = np.pad(np.ones((7, 7)), ((0, 1), (0, 1)))
    assert mask_notes([checked("a.png", large)]) == ["1 of 1 mask marks more than half of the pixels: a.png"]


def test_a_changed_number_of_regions_is_reported():
    marked = np.zeros((64, 64), np.bool_)
    marked[10:20, 10:20] = marked[10:20, 21:31] = marked[40:44, 40:44] = True
    (note,) = mask_notes([check_mask(marked, InputSpec(size=(8, 8)), "m.png")[1]])
    assert note.startswith("the masks have 3 regions, at input size 2: close regions merge")


def test_the_regions_of_a_mask_are_counted_once_at_its_size(monkeypatch):
    sizes, label = [], ndimage.label
    monkeypatch.setattr(ndimage, "label", lambda mask, **options: sizes.append(mask.shape) or label(mask, **options))
    marked = np.zeros((64, 96), np.bool_)
    marked[7, 3:60] = True
    assert check_mask(marked, SPEC, "m.png")[1].regions == 1
    assert check_mask(marked, InputSpec(size=(64, 96)), "m.png")[1].resized_regions == 1
    assert sizes == [(64, 96), (8, 12), (64, 96)]


def test_jpeg_masks_of_0_and_1_keep_their_region(tmp_path):
    marks = np.zeros((64, 64), np.uint8)
    marks[16:40, 24:48] = 1
    Image.fromarray(marks).save(tmp_path / "m.jpg")
    assert count_regions(open_mask(tmp_path / "m.jpg")) == 1


def test_three_names_are_enough():
    assert name_some(["a", "b"]) == "a, b"
    assert name_some(map(str, range(1200))) == "0, 1, 2, and 1,197 more"


@pytest.mark.parametrize(
    ("mask", "image", "is_accepted"),
    [
        ((10, 1000), (10, 1099), False),  # wide
        ((1000, 10), (1099, 10), False),  # tall
        ((3, 333), (10, 1000), True),
        ((1079, 1920), (1080, 1920), True),
        ((1920, 1080), (1080, 1920), False),
        ((540, 961), (1080, 1920), True),
    ],
)
def test_the_aspect_ratio_of_a_mask_is_checked_on_both_axes(mask, image, is_accepted):
    from offnormal.data.masks import _is_same_aspect

    assert _is_same_aspect(mask, image) == _is_same_aspect(image, mask) == is_accepted
