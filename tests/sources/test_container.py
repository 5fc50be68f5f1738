from types import SimpleNamespace

import av
import numpy as np
import pytest

from offnormal.sources.container import FrameConverter

COLOR = (200, 60, 90)
WEIGHTS = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}  # red and blue in luma


def yuv(rgb, matrix, full, bits):
    """The definition: luma and two color differences as code values."""
    red, green, blue = (value / 255 for value in rgb)
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    differences = (blue - luma) / 2 / (1 - of_blue), (red - luma) / 2 / (1 - of_red)
    if full:
        top = 2**bits - 1
        return [round(luma * top), *(round(d * top + 2 ** (bits - 1)) for d in differences)]
    return [round(v * 2 ** (bits - 8)) for v in (16 + 219 * luma, *(128 + 224 * d for d in differences))]


def picture(pixels, values, *, size=(48, 64), bits=8):
    frame = av.VideoFrame(size[1], size[0], pixels)
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // (2 if bits > 8 else 1), value, "<u2" if bits > 8 else "u1").tobytes())
    return frame


def shown(frame):
    return FrameConverter(frame).image(frame)


@pytest.mark.parametrize(
    ("pixels", "bits"), [("yuv420p", 8), ("yuv422p", 8), ("yuv444p", 8), ("yuv420p10le", 10), ("yuv444p12le", 12)]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tag", "matrix"), [(1, "BT.709"), (5, "BT.601"), (6, "BT.601"), (9, "BT.2020"), (2, "BT.601")]
)
def test_matrix_and_range_come_from_the_frame(tag, matrix, full, pixels, bits):
    frame = picture(pixels, yuv(COLOR, matrix, full, bits), bits=bits)
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    image = shown(frame)
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(image.astype(int) - COLOR).max() <= 3


def test_the_pixel_format_can_imply_full_range_and_the_default_is_limited():
    assert np.abs(shown(picture("yuvj420p", yuv(COLOR, "BT.601", True, 8))).astype(int) - COLOR).max() <= 3
    assert np.abs(shown(picture("yuv420p", yuv(COLOR, "BT.601", False, 8))).astype(int) - COLOR).max() <= 3


@pytest.mark.parametrize("said", [0, 1, 2])
@pytest.mark.parametrize(
    ("pixels", "value", "bits"), [("gray", 100, 8), ("gray10le", 401, 10), ("gray16le", 25700, 16)]
)
def test_gray_keeps_its_values_for_every_stated_range(pixels, value, bits, said):
    frame = picture(pixels, [value], bits=bits)
    frame.color_range = said
    assert (shown(frame) == 100).all()


@pytest.mark.parametrize("pixels", ["rgb24", "bgr24", "gbrp"])
def test_rgb_of_every_channel_order_is_unchanged(pixels):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(image).reformat(format=pixels)
    np.testing.assert_array_equal(shown(frame), image)


def test_transparent_pixels_are_blended_on_white():
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., :3] = 100
    rgba[:, 2:4, 3], rgba[:, 4:, 3] = 128, 255
    image = shown(av.VideoFrame.from_ndarray(rgba, format="rgba"))
    assert image[0, :, 0].tolist() == [255, 255, 177, 177, 100, 100]


def test_frames_of_another_size_are_scaled_to_the_first():
    upright = FrameConverter(picture("gray", [10]))
    other = picture("gray", [200], size=(24, 32))
    assert not upright.matches_size(other)
    assert upright.image(other).shape == (48, 64, 3)
    assert (upright.image(other) == 200).all()


@pytest.mark.parametrize("width", [1, 7, 33, 64, 250])
def test_odd_sizes_are_complete_and_contiguous(width):
    image = np.random.default_rng(0).integers(0, 256, (5, width, 3), dtype=np.uint8)
    found = shown(av.VideoFrame.from_ndarray(image))
    np.testing.assert_array_equal(found, image)
    assert found.flags.c_contiguous


def turned(image, matrix):
    """A first frame with a display matrix, as far as it is looked at, and the frame itself."""
    side = {"DISPLAYMATRIX": np.array([[*row, 0] for row in matrix] + [[0, 0, 1 << 30]], np.int32).tobytes()}
    upright = FrameConverter(SimpleNamespace(height=image.shape[0], width=image.shape[1], side_data=side))
    return upright, upright.image(av.VideoFrame.from_ndarray(image))


@pytest.mark.parametrize(
    "matrix",
    [[[a, 0], [0, d]] for a in (-1, 1) for d in (-1, 1)] + [[[0, b], [c, 0]] for b in (-1, 1) for c in (-1, 1)],
)
def test_the_display_matrix_moves_each_pixel_to_its_place(matrix):
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    (a, b), (c, d) = matrix
    places = {
        (c * y + a * x, b * x + d * y): image[y, x] for y in range(3) for x in range(5)
    }  # x' = ax + cy, y' = bx + dy
    left, top = (min(place[i] for place in places) for i in (0, 1))
    upright, found = turned(image, np.array(matrix) * 65536)
    assert found.shape[:2] == upright.size
    for (x, y), value in places.items():
        np.testing.assert_array_equal(found[y - top, x - left], value)


def test_slanted_matrices_are_ignored():
    image = np.zeros((3, 5, 3), np.uint8)
    assert turned(image, [[46341, -46341], [46341, 46341]])[1].shape == (3, 5, 3)
