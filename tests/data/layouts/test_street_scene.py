import numpy as np
import pytest

from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.street_scene import StreetSceneLayout
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import clip

BOXES = "000003.jpg 0 2 1 2 2\n000004.jpg 0 2 1 2 2\n000004.jpg 1 4.5 2.5 1 1\n"


def street(root, *, inside=True, boxes=BOXES):
    for name in ("Train001", "Train002"):
        frames(root / "Train" / name)
    for name in ("Test001", "Test002"):
        folder = frames(root / "Test" / name)
        (folder / f"{name}_gt.txt" if inside else folder.with_name(f"{name}_gt.txt")).write_text(boxes)
    return root


def frames(folder, count=6):
    clip(folder, count, suffix=".jpg")
    for path in sorted(folder.glob("*.jpg")):
        path.rename(path.with_name(f"000{path.name}"))
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_frames_with_boxes_are_anomalous(tmp_path, inside):
    (dataset,) = open_datasets(street(tmp_path / "StreetScene", inside=inside))
    assert (dataset.layout, [item.name for item in dataset.train]) == ("street_scene", ["Train001", "Train002"])
    for item in dataset.test:
        assert item.frame_labels.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("inside", [True, False])
def test_boxes_are_masks_around_their_centers(tmp_path, inside):
    item = StreetSceneLayout.read(street(tmp_path, inside=inside)).test[0]
    with open_masks(item.masks) as masks:
        assert len(masks) == 6 and not masks[0].any()
        expected = np.zeros((4, 6), bool)
        expected[0:2, 1:3] = True
        np.testing.assert_array_equal(masks[2], expected)
        expected[2, 4] = True
        np.testing.assert_array_equal(masks[3], expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000009.jpg 0 2 1 2 2", "no frame 000009.jpg"),
        ("000003.jpg 0 2 1", "expected FRAME"),
        ("000003.jpg 0 2 1 0 2", "FRAME"),
    ],
)
def test_lines_in_another_form_are_refused(tmp_path, line, message):
    with pytest.raises(DataError, match=rf"Test001_gt\.txt, line 4: .*{message}"):
        StreetSceneLayout.read(street(tmp_path, boxes=f"{BOXES}{line}\n"))


def test_a_test_clip_without_boxes_is_refused(tmp_path):
    (street(tmp_path) / "Test/Test002/Test002_gt.txt").unlink()
    with pytest.raises(DataError, match=r"Test002: no boxes; expected .*empty if the clip is normal"):
        StreetSceneLayout.read(tmp_path)
