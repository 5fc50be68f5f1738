import os
import shutil
from dataclasses import replace

import pytest

from offnormal.data.dataset import Dataset
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.items import image


def write(root):
    for name in ("train/good/lot1_1.png", "train/good/lot2_1.png", "test/hole/lot1_2.png", "truth/lot1_2.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(f"content of {name}".encode())
    return root


def read(root):
    train = tuple(
        image(root / f"train/good/{name}.png", name=f"train/good/{name}.png", label=NORMAL)
        for name in ("lot1_1", "lot2_1")
    )
    name, mask = "test/hole/lot1_2.png", root / "truth/lot1_2.png"
    test = image(root / name, name=name, label=ANOMALOUS, class_name="hole", mask=mask)
    return Dataset(name="x", layout="mvtec", root=root, train=train, test=(test,))


@pytest.fixture
def dataset(tmp_path):
    return read(write(tmp_path / "set"))


def test_the_fingerprint_does_not_depend_on_the_location(dataset, tmp_path, monkeypatch):
    shutil.copytree(dataset.root, tmp_path / "other name")
    assert read(tmp_path / "other name").fingerprint() == dataset.fingerprint()
    monkeypatch.chdir(tmp_path)
    assert read(dataset.root.relative_to(tmp_path)).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("name", ["train/good/lot1_1.png", "test/hole/lot1_2.png", "truth/lot1_2.png"])
def test_the_fingerprint_changes_with_any_file_of_the_same_size(dataset, name):
    before = dataset.fingerprint()
    path = dataset.root / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert dataset.fingerprint() != before


def test_the_fingerprint_changes_with_names_labels_splits_and_masks(dataset):
    renamed = dataset.train[0].path.rename(dataset.train[0].path.with_name("lot1_9.png"))
    other_name = replace(
        dataset, train=(replace(dataset.train[0], address=str(renamed), name="train/good/lot1_9.png"), dataset.train[1])
    )
    shutil.copy(renamed, dataset.train[0].path)
    variants = [
        dataset,
        other_name,
        replace(dataset, test=(replace(dataset.test[0], label=NORMAL),)),
        replace(dataset, test=(replace(dataset.test[0], masks=None),)),
        replace(dataset, train=dataset.train[:1]),
        replace(dataset, train=dataset.train[:1], test=(dataset.train[1], *dataset.test)),
    ]
    assert len({variant.fingerprint() for variant in variants}) == len(variants)


def test_each_split_has_a_different_fingerprint(dataset):
    assert len({dataset.fingerprint(part) for part in ("train", "test", "all")}) == 3
    assert replace(dataset, test=()).fingerprint("train") == dataset.fingerprint("train")
    assert replace(dataset, train=()).fingerprint("test") == dataset.fingerprint("test")


def test_the_fingerprint_of_test_images_next_to_the_root_does_not_depend_on_the_location(tmp_path):
    def next_to_root(root):
        write(root)
        return replace(read(root), root=root / "train")

    assert next_to_root(tmp_path / "a").fingerprint() == next_to_root(tmp_path / "b").fingerprint()


def test_missing_files_and_names_that_are_not_unicode_have_a_fingerprint(dataset):
    before = dataset.fingerprint()
    dataset.train[0].path.unlink()
    assert dataset.fingerprint() != before
    odd = image(dataset.root / os.fsdecode(b"l\xe4ufer.png"))
    assert len(replace(dataset, train=(odd,)).fingerprint()) == 64


def test_no_groups_by_default(dataset):
    assert dataset.with_group_by(None) is dataset


def test_groups_by_folder(dataset):
    grouped = dataset.with_group_by("folder")
    assert grouped.train[0].group == grouped.train[1].group != grouped.test[0].group
    assert grouped.train[0].path == dataset.train[0].path


@pytest.mark.parametrize(
    ("expression", "groups"),
    [
        (r"lot(\d+)", ["1", "2", "1"]),
        (r"lot\d+", ["lot1", "lot2", "lot1"]),
        (r"good/(lot\d)|(hole)", ["lot1", "lot2", "hole"]),
        (r"lot(\d+)_1|test", ["1", "2", "test"]),
        (r"^(train|test)", ["train", "train", "test"]),
    ],
)
def test_groups_by_expression_on_the_path_below_the_root(dataset, expression, groups):
    grouped = dataset.with_group_by(expression)
    assert [sample.group for sample in (*grouped.train, *grouped.test)] == groups


@pytest.mark.parametrize("expression", ["lot[3-9]", "good", "(x?)"])
def test_an_expression_that_does_not_match_every_image_names_the_first(dataset, expression):
    with pytest.raises(DataError, match=r"does not match (train|test)/.*: expected an expression"):
        dataset.with_group_by(expression)


def test_a_bad_expression_is_explained(dataset):
    with pytest.raises(DataError, match=r"expected 'folder' or a regular expression \(.*unterminated"):
        dataset.with_group_by("lot(")


def lots(root, *groups):
    return tuple(image(root / f"{number}-{group}.png") for number, group in enumerate(groups))


def test_no_group_is_in_training_and_calibration(tmp_path, caplog):
    dataset = Dataset(
        name="d",
        layout="folder",
        root=tmp_path,
        train=lots(tmp_path, "a", "b", "b"),
        calibration=lots(tmp_path / "held", "b", "c", "b"),
    )
    assert dataset.with_group_by(None) is dataset and not caplog.messages
    grouped = dataset.with_group_by(r"-(\w)")
    assert [item.group for item in grouped.train] == ["a", "b", "b", "b", "b"]
    assert [item.group for item in grouped.calibration] == ["c"]
    assert caplog.messages == [
        f"{tmp_path}: 1 group is in training and calibration (b): 2 images of calibration are used for training, so "
        "that no group is in both"
    ]
    caplog.clear()
    everywhere = dataset.with_group_by("-").with_group_by(None)
    assert (len(everywhere.train), everywhere.calibration) == (6, ())
    assert caplog.messages[0].endswith("no group is in both; none is left, so that training data is held out instead")
