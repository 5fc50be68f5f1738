import pytest

from offnormal.data.layouts.folder import FolderLayout, from_folders
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
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
