from PIL import Image

from offnormal.data.mask_names import marks_anything, masks_beside, masks_in, meanings_of_folder, without_masks
from tests.data.tree import draw


def test_masks_beside_their_images_by_any_word_or_by_a_suffix(tmp_path):
    root = draw(tmp_path, "a/1.png", "a/1_GT.png", "a/2.png", "b/2_GT.png", "a/3.png", "a/3_x.bmp")
    images = [path for path in root.rglob("*") if path.is_file()]
    assert masks_beside(images) == {root / "a/1.png": root / "a/1_GT.png"}
    assert masks_beside(images, "_x") == {root / "a/3.png": root / "a/3_x.bmp"}
    assert masks_beside(images, "") == {}


def test_masks_in_another_folder_in_the_same_place_or_all_in_one(tmp_path):
    root = draw(tmp_path, "new/a/1.png", "new/b/2.png", "m/a/1_m.png", "flat/2_m.png", "flat/1.png")
    assert masks_in(root / "m", root / "new", "_m") == {root / "new/a/1.png": root / "m/a/1_m.png"}
    assert masks_in(root / "flat", root / "new", "_m") == {root / "new/b/2.png": root / "flat/2_m.png"}


def test_images_without_masks(tmp_path):
    root = draw(tmp_path, "1.png", "1_mask.png", "GT/1.png", "2_mask.png")
    assert [path.name for path in without_masks(root)] == ["1.png", "2_mask.png"]


def test_a_mask_marks_something_if_a_pixel_is_above_zero(tmp_path):
    Image.new("L", (4, 3), 1).save(tmp_path / "some.png")
    draw(tmp_path, "none.png")
    assert [marks_anything(tmp_path / "some.png"), marks_anything(tmp_path / "none.png"), marks_anything(None)] == [
        True, False, False,
    ]  # fmt: skip


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").save(path)


def test_photos_in_a_folder_that_says_mask_are_images(tmp_path):
    photo(tmp_path / "bad_label/1.png")
    photo(tmp_path / "label/1.png")
    draw(tmp_path, "masks/1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1.txt").write_text("0 0.5 0.5 0.1 0.1")
    meanings = {name: meanings_of_folder(tmp_path / name) for name in ("bad_label", "label", "masks", "labels")}
    assert meanings == {"bad_label": ["anomalous"], "label": [], "masks": ["mask"], "labels": []}
    assert [path.parent.name for path in without_masks(tmp_path)] == ["bad_label", "label"]


def test_two_files_of_a_name_are_a_mask_and_its_image_by_the_content_of_each(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/1.png", "a/2.png", "c/1.png"):  # b: the same photo twice
        photo(tmp_path / name)
    draw(tmp_path, "a/1.png", "c/1.bmp")
    images = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert (
        masks_beside(images)
        == masks_beside(images, "")
        == {
            tmp_path / "a/1.jpg": tmp_path / "a/1.png",
            tmp_path / "c/1.png": tmp_path / "c/1.bmp",
        }
    )
