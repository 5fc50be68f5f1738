import unicodedata

import pytest
from PIL import Image

from offnormal.data.layouts.labeled import find_folder, labeled_items, normal_items, subfolders
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.data.tree import draw


def test_subfolders_are_visible_folders_in_natural_order(tmp_path):
    for name in ("10", "2", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert [folder.name for folder in subfolders(tmp_path)] == ["2", "10"]


def test_normal_items(tmp_path):
    draw(tmp_path, "2.png", "10.png", "deep/1.png", "._2.png")
    items = normal_items(tmp_path)
    assert [sample.path.name for sample in items] == ["2.png", "10.png", "1.png"]
    assert {(sample.label, sample.class_name, sample.masks, sample.group) for sample in items} == {
        (NORMAL, "good", None, None)
    }


@pytest.mark.parametrize("name", ["good", "Good", "normal", "OK", "0.normal"])
def test_normal_folders_and_defects_are_distinguished(tmp_path, name):
    draw(tmp_path, f"{name}/1.png", "big hole/1.png", "big hole/lot 2/1.png")
    items = {sample.path.relative_to(tmp_path).as_posix(): sample for sample in labeled_items(tmp_path, None)}
    assert (items[f"{name}/1.png"].label, items[f"{name}/1.png"].class_name) == (NORMAL, "good")
    for path in ("big hole/1.png", "big hole/lot 2/1.png"):
        assert (items[path].label, items[path].class_name, items[path].masks) == (ANOMALOUS, "big hole", None)


@pytest.mark.parametrize("mask", ["001_mask.png", "001.png", "001_gt.bmp", "001_mask.BMP"])
def test_masks_are_matched_by_name_and_ending(tmp_path, mask):
    draw(tmp_path, "test/good/001.jpg", "test/hole/001.jpg", f"masks/hole/{mask}")
    good, hole = labeled_items(tmp_path / "test", tmp_path / "masks")
    assert good.masks is None
    assert hole.masks.path == tmp_path / "masks/hole" / mask


def test_masks_mirror_folders_below_the_defect(tmp_path):
    draw(tmp_path, "test/hole/a/1.png", "test/hole/b/1.png", "masks/hole/a/1_mask.png", "masks/hole/b/1_mask.png")
    items = labeled_items(tmp_path / "test", tmp_path / "masks")
    assert [sample.masks.path.parent.name for sample in items] == ["a", "b"]


def test_an_image_with_a_name_like_a_mask_has_a_mask(tmp_path):
    draw(tmp_path, "test/hole/1.png", "test/hole/1_mask.png", "masks/hole/1_mask.png", "masks/hole/1_mask_mask.png")
    items = labeled_items(tmp_path / "test", tmp_path / "masks")
    assert {sample.path.name: sample.masks.path.name for sample in items} == {
        "1.png": "1_mask.png",
        "1_mask.png": "1_mask_mask.png",
    }


def test_dots_in_names_and_composed_letters(tmp_path):
    composed, apart = (unicodedata.normalize(form, "prüfling.v2") for form in ("NFC", "NFD"))
    draw(tmp_path, f"test/hole/{composed}.png", f"masks/hole/{apart}_mask.png")
    (items,) = labeled_items(tmp_path / "test", tmp_path / "masks")
    assert items.masks is not None


def test_a_defect_with_masks_for_only_some_images_is_an_error(tmp_path):
    draw(tmp_path, "test/hole/1.png", "test/hole/2.png", "masks/hole/1_mask.png")
    with pytest.raises(
        DataError, match=r"2\.png: no mask; expected 2_mask\.png or 2\.png in .*hole, which has 1 mask for"
    ):
        labeled_items(tmp_path / "test", tmp_path / "masks")


@pytest.mark.parametrize("remaining", ["nothing", "an empty folder"])
def test_a_defect_without_any_mask_has_none(tmp_path, remaining):
    draw(tmp_path, "test/hole/1.png", "test/dent/1.png", "masks/dent/1.png")
    if remaining == "an empty folder":
        (tmp_path / "masks/hole").mkdir()
    dent, hole = labeled_items(tmp_path / "test", tmp_path / "masks")
    assert dent.masks is not None
    assert hole.masks is None


def test_an_image_next_to_the_labeled_folders_is_an_error(tmp_path):
    draw(tmp_path, "good/1.png", "hole/1.png", "loose.png")
    with pytest.raises(DataError, match=r"loose\.png: an image without a label.*move it to good/"):
        labeled_items(tmp_path, None)


def test_empty_folders_have_no_items(tmp_path):
    (tmp_path / "good").mkdir()
    assert labeled_items(tmp_path, None) == normal_items(tmp_path) == ()


def test_masks_in_one_folder_are_matched_by_file_name(tmp_path):
    draw(tmp_path, "test/good/1.png", "test/hole/2.png", "test/dent/a/3.png", "masks/2_mask.png", "masks/3.png")
    items = {item.class_name: item for item in labeled_items(tmp_path / "test", tmp_path / "masks")}
    assert items["hole"].masks.path == tmp_path / "masks/2_mask.png"
    assert items["dent"].masks.path == tmp_path / "masks/3.png"
    assert items["good"].masks is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test/hole/1.png", "test/dent/1.png", "masks/1.png"), "could be the mask of"),
        (("test/hole/1.png", "masks/9.png"), "none of its 1 mask has the name of an anomalous image"),
        (("test/hole/1.png", "test/hole/2.png", "masks/1.png"), r"2\.png: no mask; expected 2_mask\.png"),
    ],
)
def test_masks_in_one_folder_that_do_not_match(tmp_path, names, message):
    draw(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        labeled_items(tmp_path / "test", tmp_path / "masks")


@pytest.mark.parametrize("masks", ["ground_truth", "GT", "Masken", "マスク"])
def test_a_folder_of_masks_is_not_judged(tmp_path, masks):
    draw(tmp_path, "ok/1.png", "ng/1.png", f"{masks}/ng/1_mask.png")
    items = labeled_items(tmp_path, None)
    assert [(item.name, item.label) for item in items] == [("ng/1.png", 1), ("ok/1.png", 0)]
    assert items[0].masks.path == tmp_path / masks / "ng/1_mask.png"


def test_masks_beside_test_images_are_not_judged(tmp_path):
    draw(tmp_path, "good/1.png", "good/1_mask.png", "hole/1.png", "hole/1_mask.png")
    hole, good = sorted(labeled_items(tmp_path, None), key=lambda item: item.name, reverse=True)
    assert (hole.name, hole.masks.path.name, good.name, good.masks) == ("hole/1.png", "1_mask.png", "good/1.png", None)


def test_a_suffix_names_the_masks_in_another_folder(tmp_path):
    draw(tmp_path, "test/good/1.png", "test/hole/1.png", "masks/hole/1 fehler.bmp")
    (_, hole) = labeled_items(tmp_path / "test", tmp_path / "masks", mask_suffix=" fehler")
    assert hole.masks.path.name == "1 fehler.bmp"
    with pytest.raises(DataError, match=r"no mask; expected 1_x\.png in"):
        labeled_items(tmp_path / "test", tmp_path / "masks", mask_suffix="_x")


def test_folders_match_in_any_case_and_the_exact_name_first(tmp_path):
    for name in ("Train/Good", "test"):
        (tmp_path / name).mkdir(parents=True)
    assert find_folder(tmp_path, "train", "good") == tmp_path / "Train/Good"
    assert find_folder(tmp_path, "train", "bad") is None


def test_photos_in_a_folder_named_label_are_a_defect(tmp_path, caplog):
    draw(tmp_path, "good/1.png", "hole/1.png", "hole/1_mask.png", "label/1.png")
    Image.linear_gradient("L").save(tmp_path / "label/1.png")
    items = {item.name: item for item in labeled_items(tmp_path, None)}
    assert {name: item.class_name for name, item in items.items()} == {
        "good/1.png": "good", "hole/1.png": "hole", "label/1.png": "label",
    }  # fmt: skip
    assert items["hole/1.png"].masks.path.name == "1_mask.png"
    assert "label: photos, not masks as its name says; they are anomalous test images" in caplog.text


def test_a_folder_of_label_files_is_neither_masks_nor_a_defect(tmp_path):
    draw(tmp_path, "good/1.png", "hole/1.png", "hole/1_mask.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert [(item.name, item.masks is not None) for item in labeled_items(tmp_path, None)] == [
        ("good/1.png", False), ("hole/1.png", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "label"),
    [("good_front", 0), ("test_good", 0), ("OKParts", 0), ("no_defect", 0), ("not_good", 1), ("good_but_dented", 1)],
)
def test_words_in_the_names_of_labels(name, label, tmp_path):
    (item,) = labeled_items(draw(tmp_path, f"{name}/1.png"), None)
    assert item.label == label
