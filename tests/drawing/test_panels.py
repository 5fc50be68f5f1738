from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from offnormal.drawing.panels import Reconstruction, build_panels, to_data_uri

SCALE = {"threshold": 5.0, "low": 2.0, "high": 8.0}


def shown(size=(40, 60)):
    """A gray image with a bump in its map, whose upper half is marked."""
    y, x = np.mgrid[: size[0], : size[1]]
    bump = np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 60).astype(np.float32)
    return {"image": np.full((*size, 3), 120, np.uint8), "map": 10 * bump, "mask": bump > 0.5}


def test_panels_show_what_there_is():
    whole = build_panels(**shown(), noun="image", **SCALE)
    assert [panel.caption for panel in whole] == ["image", "heat map", "marked region"]
    bare = build_panels(shown()["image"], "image", mask=np.zeros((40, 60), bool), **SCALE)
    assert [panel.caption for panel in bare] == ["image"]


def test_a_reconstruction_and_the_difference_come_last():
    reconstruction = Reconstruction(frame=np.full((40, 60, 3), (10, 200, 10), np.uint8))
    panels = build_panels(**shown(), noun="frame", reconstruction=reconstruction, **SCALE)
    captions = ["frame", "heat map", "marked region", "reconstruction", "difference, brightened"]
    assert [panel.caption for panel in panels] == captions
    assert panels[3].image.getpixel((50, 50)) == (10, 200, 10)
    assert len({panel.image.size for panel in panels}) == 1


def test_panels_have_one_size_and_keep_the_aspect():
    panels = build_panels(**shown(size=(40, 120)), noun="image", **SCALE, side=300)
    assert {panel.image.size for panel in panels} == {(300, 100)}


def test_mask_outline_lies_on_the_border_of_the_mask():
    given = shown()
    photo, _, marked = build_panels(
        **given, noun="image", **{**SCALE, "threshold": None}, side=240
    )  # four times the image
    changed = np.abs(np.asarray(marked.image).astype(int) - np.asarray(photo.image)).max(axis=2) > 40
    large = np.kron(given["mask"], np.ones((4, 4), bool))
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    drawn_rows, drawn_columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    for inner, outer in ((rows, drawn_rows), (columns, drawn_columns)):
        assert abs(inner[0] - outer[0]) <= 5 and abs(inner[-1] - outer[-1]) <= 5
    assert not changed[large.nonzero()[0].mean().astype(int), large.nonzero()[1].mean().astype(int)]


def test_data_uri_holds_a_small_picture():
    uri = to_data_uri(Image.new("RGB", (2000, 1000), (200, 30, 30)), side=320)
    kind, data = uri.split(",")
    found = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/webp;base64" and found.size == (320, 160)
    assert np.abs(np.asarray(found.convert("RGB"))[80, 160].astype(int) - (200, 30, 30)).max() < 12


FRAME = np.full((8, 16, 3), 100, np.uint8)


def test_the_difference_is_that_of_the_pixels_brightened_and_cut_off():
    image = FRAME.copy()
    image[0, 0] = (110, 90, 250)
    found = Reconstruction(frame=FRAME).difference(image)
    assert found[0, 0].tolist() == [30, 30, 255]
    assert not found[1:].any()


def test_every_item_has_a_color_of_its_own():
    items = np.arange(20).reshape(4, 5)
    mosaic = Reconstruction(frame=FRAME, items=items).mosaic()
    assert mosaic.shape == (4, 5, 3)
    assert len(np.unique(mosaic.reshape(-1, 3), axis=0)) == 20


def test_the_most_used_items_are_told_first():
    items = np.array([[5] * 6 + [2] * 3 + [9]])
    assert Reconstruction(frame=FRAME, items=items).shares() == "memory items: 5 (60 %), 2 (30 %), 9 (10 %)"


def test_what_was_expected_stands_beside_the_frame():
    def captions(reconstruction):
        panels = build_panels(FRAME, "frame", reconstruction=reconstruction, threshold=None, low=0.0, high=1.0, side=32)
        assert {panel.image.size for panel in panels} == {(32, 16)}
        return [panel.caption for panel in panels]

    assert captions(None) == ["frame"]
    assert captions(Reconstruction(frame=FRAME)) == ["frame", "reconstruction", "difference, brightened"]
    items = np.zeros((1, 2), np.int64)
    assert captions(Reconstruction(frame=FRAME, items=items))[3:] == ["memory items: 0 (100 %)"]
