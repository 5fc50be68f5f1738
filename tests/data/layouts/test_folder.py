import pytest

from offnormal.data.layouts.folder import FolderLayout, from_folders
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.data import published
from tests.data.tree import draw


@pytest.mark.parametrize("names", [("1.png",), ("lot 1/deep/1.png",), ("good/1.png",), ("a/1.png", "more/2.png")])
def test_a_folder_of_images_is_recognized_and_read(tmp_path, names):
    root = draw(tmp_path / "parts", *names)
    assert FolderLayout.recognizes(root)
    assert FolderLayout.categories(root) == []
    dataset = FolderLayout.read(root)
    assert (dataset.name, dataset.layout, dataset.root, dataset.test) == ("parts", "folder", root, ())
    assert [(s.label, s.path.relative_to(root).as_posix()) for s in dataset.train] == [(NORMAL, name) for name in names]


@pytest.mark.parametrize("names", [(), ("train/1.png",), ("test/1.png", "1.png"), ("ground_truth/1.png", "1.png")])
def test_folders_of_other_layouts_are_not_recognized(tmp_path, names):
    assert not FolderLayout.recognizes(draw(tmp_path, *names))


def test_good_next_to_other_folders_is_rejected(tmp_path):
    with pytest.raises(DataError, match=r"--normal .*good"):
        FolderLayout.read(draw(tmp_path, "good/1.png", "scratched/2.png"))


def test_categories_and_empty_folders_are_rejected(tmp_path):
    with pytest.raises(DataError, match="no categories"):
        FolderLayout.read(draw(tmp_path / "a", "1.png"), "x")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="no images"):
        FolderLayout.read(tmp_path / "b")


def test_test_images_are_labeled_if_a_folder_is_normal(tmp_path):
    draw(tmp_path, "fine/1.png", "new/ok/1.png", "new/hole/1.png", "masks/hole/1.png")
    dataset = from_folders(normal=tmp_path / "fine", test=tmp_path / "new", masks=tmp_path / "masks")
    assert [(s.label, s.class_name) for s in dataset.test] == [(ANOMALOUS, "hole"), (NORMAL, "good")]
    assert dataset.test[0].masks.path == tmp_path / "masks/hole/1.png"
    assert dataset.name == "fine"


def test_test_images_are_otherwise_unlabeled(tmp_path):
    draw(tmp_path, "1.png", "hole/1.png")
    dataset = from_folders(test=tmp_path)
    assert [(s.label, s.class_name) for s in dataset.test] == [(None, None)] * 2
    assert dataset.train == ()


def test_masks_need_labels_and_test_images(tmp_path):
    draw(tmp_path, "fine/1.png", "new/1.png", "masks/1.png")
    with pytest.raises(DataError, match=r"--masks without labels; sort .*new into good/"):
        from_folders(test=tmp_path / "new", masks=tmp_path / "masks")
    with pytest.raises(DataError, match="without --test DIR"):
        from_folders(normal=tmp_path / "fine", masks=tmp_path / "masks")


@pytest.mark.parametrize("part", ["normal", "test", "masks"])
def test_a_missing_folder_is_named(tmp_path, part):
    draw(tmp_path, "fine/1.png", "new/good/1.png", "masks/1.png")
    folders = {"normal": tmp_path / "fine", "test": tmp_path / "new", "masks": tmp_path / "masks"}
    with pytest.raises(DataError, match="gone: no such folder"):
        from_folders(**{**folders, part: tmp_path / "gone"})


@pytest.mark.parametrize("inside", ["", "good"])
def test_an_empty_test_folder_is_an_error(tmp_path, inside):
    draw(tmp_path, "fine/1.png")
    (tmp_path / "new" / inside).mkdir(parents=True)
    with pytest.raises(DataError, match="expected images for testing"):
        from_folders(normal=tmp_path / "fine", test=tmp_path / "new")


@pytest.mark.parametrize(("normal", "test"), [(".", "new"), ("new/good", "new"), ("new", "new")])
def test_training_images_are_not_used_for_testing(tmp_path, normal, test):
    draw(tmp_path, "1.png", "new/good/1.png", "new/hole/1.png")
    with pytest.raises(DataError, match="share images"):
        from_folders(normal=tmp_path / normal, test=tmp_path / test)


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected --data DIR"):
        from_folders()


def masked(root):
    """Two normal images, one of them with an empty mask, and an anomalous one."""
    draw(root, "1.png", "2.png", "2_GT.png", "3.png")
    published.mask(root / "3_GT.png")
    return root


def test_masks_beside_images_tell_which_are_for_training(tmp_path, caplog):
    (dataset,) = open_datasets(masked(tmp_path), mask_suffix="_GT")
    assert [item.name for item in dataset.train] == ["1.png", "2.png"]
    assert [(item.name, item.label, item.masks.path.name) for item in dataset.test] == [("3.png", 1, "3_GT.png")]
    assert "not used for training, because their masks mark defects: 3.png" in caplog.text
    assert [item.name for item in open_datasets(normal=tmp_path, mask_suffix="_GT")[0].train] == ["1.png", "2.png"]


def test_masks_beside_test_images_or_in_another_folder_label_them(tmp_path):
    draw(tmp_path, "fine/1.png")
    masked(tmp_path / "new")
    dataset = from_folders(normal=tmp_path / "fine", test=tmp_path / "new", mask_suffix="_GT")
    assert [(item.path.name, item.label) for item in dataset.test] == [("1.png", 0), ("2.png", 0), ("3.png", 1)]
    draw(tmp_path, "plain/2.png", "plain/3.png")
    dataset = from_folders(test=tmp_path / "plain", masks=tmp_path / "new", mask_suffix="_GT")
    assert [(item.label, item.masks is not None) for item in dataset.test] == [(0, False), (1, True)]


def test_a_suffix_without_masks_is_an_error(tmp_path):
    draw(tmp_path, "fine/1.png", "new/1.png")
    for folders in ({"normal": tmp_path / "fine"}, {"test": tmp_path / "new"}):
        with pytest.raises(DataError, match=r"no mask NAME_GT\.png"):
            from_folders(**folders, mask_suffix="_GT")
    with pytest.raises(DataError, match="--mask-suffix needs plain folders"):
        open_datasets(tmp_path, layout="mvtec", mask_suffix="_GT")


def test_masks_among_unlabeled_test_images_are_not_judged(tmp_path, caplog):
    draw(tmp_path, "1.png", "1_mask.png", "GT/1.png")
    assert [item.name for item in from_folders(test=tmp_path).test] == ["1.png"]
    assert "2 masks skipped" in caplog.text
