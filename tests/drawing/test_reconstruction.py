import numpy as np

from offnormal.drawing.panels import panels_of
from offnormal.drawing.reconstruction import Reconstruction

FRAME = np.full((8, 16, 3), 100, np.uint8)


def test_the_difference_is_that_of_the_pixels_brightened_and_cut_off():
    image = FRAME.copy()
    image[0, 0] = (110, 90, 250)
    found = Reconstruction(frame=FRAME).difference(image)
    assert found[0, 0].tolist() == [30, 30, 255]
    assert not found[1:].any()


def test_every_item_has_a_colour_of_its_own():
    items = np.arange(20).reshape(4, 5)
    mosaic = Reconstruction(frame=FRAME, items=items).mosaic()
    assert mosaic.shape == (4, 5, 3)
    assert len(np.unique(mosaic.reshape(-1, 3), axis=0)) == 20


def test_the_most_used_items_are_told_first():
    items = np.array([[5] * 6 + [2] * 3 + [9]])
    assert Reconstruction(frame=FRAME, items=items).shares() == "memory items: 5 (60 %), 2 (30 %), 9 (10 %)"


def test_what_was_expected_stands_beside_the_frame():
    def captions(reconstruction):
        panels = panels_of(FRAME, "frame", reconstruction=reconstruction, threshold=None, low=0.0, high=1.0, side=32)
        assert {panel.image.size for panel in panels} == {(32, 16)}
        return [panel.caption for panel in panels]

    assert captions(None) == ["frame"]
    assert captions(Reconstruction(frame=FRAME)) == ["frame", "reconstruction", "difference, brightened"]
    items = np.zeros((1, 2), np.int64)
    assert captions(Reconstruction(frame=FRAME, items=items))[3:] == ["memory items: 0 (100 %)"]
