from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from offnormal.drawing.panels import Reconstruction, build_panels, to_data_uri

SCALE = {"threshold": 5.0, "low": 2.0, "high": 8.0}


def scored_image(size=(40, 60)):
    """A gray image whose map has a bump; the upper half of the bump is marked."""
    y, x = np.mgrid[: size[0], : size[1]]
    bump = np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 60).astype(np.float32)
    return {"image": np.full((*size, 3), 120, np.uint8), "map": 10 * bump, "mask": bump > 0.5}


def test_panels_are_built_for_available_inputs():
    whole = build_panels(**scored_image(), noun="image", **SCALE)
    assert [panel.caption for panel in whole] == ["image", "heat map", "marked region"]
    bare = build_panels(scored_image()["image"], "image", mask=np.zeros((40, 60), bool), **SCALE)
    assert [panel.caption for panel in bare] == ["image"]
    inputs = scored_image() | {"map": np.ones((40, 60)), "mask": None}
    assert build_panels(**inputs, noun="image", **SCALE)[1].caption == "heat map: all below 2.000"


def test_reconstruction_and_difference_come_last():
    reconstruction = Reconstruction(frame=np.full((40, 60, 3), (10, 200, 10), np.uint8))
    panels = build_panels(**scored_image(), noun="frame", reconstruction=reconstruction, **SCALE)
    captions = ["frame", "heat map", "marked region", "reconstruction", "difference, brightened"]
    assert [panel.caption for panel in panels] == captions
    assert panels[3].image.getpixel((50, 50)) == (10, 200, 10)
    assert len({panel.image.size for panel in panels}) == 1


def test_panels_have_one_size_and_keep_the_aspect():
    panels = build_panels(**scored_image(size=(40, 120)), noun="image", **SCALE, side=300)
    assert {panel.image.size for panel in panels} == {(300, 100)}


def test_the_outline_follows_the_border_of_the_mask():
    inputs = scored_image()
    photo, _, marked = build_panels(
        **inputs, noun="image", **{**SCALE, "threshold": None}, side=240
    )  # four times the image
    changed = np.abs(np.asarray(marked.image).astype(int) - np.asarray(photo.image)).max(axis=2) > 40
    large = np.kron(inputs["mask"], np.ones((4, 4), bool))
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    drawn_rows, drawn_columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    for inner, outer in ((rows, drawn_rows), (columns, drawn_columns)):
        assert abs(inner[0] - outer[0]) <= 5 and abs(inner[-1] - outer[-1]) <= 5
    assert not changed[large.nonzero()[0].mean().astype(int), large.nonzero()[1].mean().astype(int)]


def test_the_data_uri_contains_a_small_image():
    uri = to_data_uri(Image.new("RGB", (2000, 1000), (200, 30, 30)), side=320)
    kind, data = uri.split(",")
    result = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/webp;base64" and result.size == (320, 160)
    assert np.abs(np.asarray(result.convert("RGB"))[80, 160].astype(int) - (200, 30, 30)).max() < 12


FRAME = np.full((8, 16, 3), 100, np.uint8)


def test_the_difference_is_amplified_and_clipped():
    image = FRAME.copy()
    image[0, 0] = (110, 90, 250)
    result = Reconstruction(frame=FRAME).difference(image)
    assert result[0, 0].tolist() == [30, 30, 255]
    assert not result[1:].any()


def test_every_item_has_its_own_color():
    items = np.arange(20).reshape(4, 5)
    mosaic = Reconstruction(frame=FRAME, items=items).mosaic()
    assert mosaic.shape == (4, 5, 3)
    assert len(np.unique(mosaic.reshape(-1, 3), axis=0)) == 20


def test_the_most_used_items_are_listed_first():
    items = np.array([[5] * 6 + [2] * 3 + [9]])
    assert Reconstruction(frame=FRAME, items=items).shares() == "memory items: 5 (60 %), 2 (30 %), 9 (10 %)"


def test_the_reconstruction_is_next_to_the_frame():
    def captions(reconstruction):
        panels = build_panels(FRAME, "frame", reconstruction=reconstruction, threshold=None, low=0.0, high=1.0, side=32)
        assert {panel.image.size for panel in panels} == {(32, 16)}
        return [panel.caption for panel in panels]

    assert captions(None) == ["frame"]
    assert captions(Reconstruction(frame=FRAME)) == ["frame", "reconstruction", "difference, brightened"]
    items = np.zeros((1, 2), np.int64)
    assert captions(Reconstruction(frame=FRAME, items=items))[3:] == ["memory items: 0 (100 %)"]
