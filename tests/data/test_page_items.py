import numpy as np
import pytest
from PIL import Image

from offnormal.data.dataset import hash_contents
from offnormal.data.open import open_datasets
from offnormal.data.page_items import expand_pages
from offnormal.data.resolve import resolve_items
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS
from tests.items import image
from tests.sources.deep_files import write_tiff

GRAY = np.full((6, 8), 100, "u1")
WHITE = np.full((6, 8), 255, "u1")


def test_a_page_has_the_label_and_group_of_its_file_and_its_own_mask(tmp_path):
    write_tiff(tmp_path / "x.tif", GRAY, WHITE)
    write_tiff(tmp_path / "m.tif", GRAY * 0, WHITE)
    item = image(tmp_path / "x.tif", label=ANOMALOUS, mask=tmp_path / "m.tif", group="lot 1")
    first, second = expand_pages([item])
    assert [first.address, second.address] == [f"{tmp_path / 'x.tif'}[{number}]" for number in (1, 2)]
    assert [first.name, second.name] == [f"{item.name}[1]", f"{item.name}[2]"]
    assert (second.label, second.group) == (ANOMALOUS, "lot 1")
    assert second.masks.path == tmp_path / "m.tif[2]"


@pytest.mark.parametrize(("images", "masks"), [(2, 1), (1, 2), (3, 2)])
def test_another_number_of_masks_than_pages_is_refused(tmp_path, images, masks):
    write_tiff(tmp_path / "x.tif", *[GRAY] * images)
    write_tiff(tmp_path / "m.tif", *[GRAY] * masks)
    with pytest.raises(DataError, match=rf"m\.tif: {masks} pages, its image .*x\.tif has {images}"):
        expand_pages([image(tmp_path / "x.tif", label=ANOMALOUS, mask=tmp_path / "m.tif")])


def test_skipped_pages_are_counted_once_with_their_reasons(tmp_path, caplog):
    for name in "ab":
        write_tiff(tmp_path / f"{name}.tif", GRAY, (GRAY, {"t254": 1}), (GRAY, {"t254": 4}))
    assert [item.path.name for item in expand_pages([image(tmp_path / f"{name}.tif") for name in "ab"])] == [
        "a.tif",
        "b.tif",
    ]
    (record,) = caplog.records
    assert record.getMessage().endswith("skipped: 2 smaller copies of a page, 2 transparency masks")


def test_pages_are_training_and_test_images(tmp_path):
    for folder in ("train/good", "test/good", "test/bad", "ground_truth/bad"):
        (tmp_path / folder).mkdir(parents=True)
        write_tiff(tmp_path / folder / "x.tif", GRAY, WHITE, GRAY)
    (dataset,) = open_datasets(tmp_path, layout="mvtec")
    assert [item.name for item in dataset.train] == [f"train/good/x.tif[{number}]" for number in (1, 2, 3)]
    assert [item.label for item in dataset.test] == [1, 1, 1, 0, 0, 0]
    assert dataset.test[1].masks.path == tmp_path / "ground_truth/bad/x.tif[2]"


def test_names_resolve_to_all_pages_or_to_one(tmp_path):
    write_tiff(tmp_path / "x.tif", GRAY, WHITE)
    Image.new("L", (8, 6)).save(tmp_path / "y.png")
    assert [item.path.name for item in resolve_items([tmp_path])] == ["x.tif[1]", "x.tif[2]", "y.png"]
    assert [item.path.name for item in resolve_items([tmp_path / "*.tif"])] == ["x.tif[1]", "x.tif[2]"]
    assert [item.address for item in resolve_items([tmp_path / "x.tif[2]"])] == [str(tmp_path / "x.tif[2]")]


def test_pages_are_hashed_by_their_content(tmp_path):
    write_tiff(tmp_path / "x.tif", GRAY, WHITE)
    write_tiff(tmp_path / "y.tif", WHITE, GRAY, deflate=True)
    hashes = hash_contents(tmp_path / name for name in ("x.tif[1]", "x.tif[2]", "y.tif[1]", "y.tif[2]", "x.tif[9]"))
    first, second, third, fourth, missing = hashes.values()
    assert (first, second) == (fourth, third)
    assert first != second
    assert missing == "unreadable"
