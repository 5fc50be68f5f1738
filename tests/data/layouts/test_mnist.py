import logging

import numpy as np
import pytest

from offnormal.data.class_split import ClassChoice
from offnormal.data.layouts.mnist import MnistLayout
from offnormal.data.loaders import ImageLoader
from offnormal.data.open import open_datasets
from offnormal.data.reuse import content_keys
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL, InputSpec
from tests.data.idx_files import draw_digits, write_digits, write_idx


def load_pixels(samples):
    """Pixels of samples at their original size."""
    (batch,) = ImageLoader(samples, InputSpec(size=(12, 12), channels=1), batch_size=1000)
    return (batch.pixels[:, 0] * 255).round().astype(np.uint8)


def test_two_subsets_are_training_and_test(tmp_path, caplog):
    root = write_digits(tmp_path / "mnist", subsets=("train", "t10k"))
    dataset = MnistLayout.read(root, "3")
    assert (dataset.name, dataset.layout, dataset.category) == ("mnist_3", "mnist", "3")
    labels = np.tile(np.arange(10), 6)
    assert np.array_equal(load_pixels(dataset.train), draw_digits(labels, seed=0)[labels == 3])
    assert np.array_equal(load_pixels(dataset.test), draw_digits(labels, seed=1))
    assert [s.label for s in dataset.test] == [NORMAL if number == 3 else ANOMALOUS for number in labels]
    assert [s.class_name for s in dataset.test[:5]] == ["class 0", "class 1", "class 2", "good", "class 4"]
    assert not caplog.records


@pytest.mark.parametrize("subset", ["train", "t10k"])
def test_one_subset_is_split_without_overlap(tmp_path, caplog, subset):
    root = write_digits(tmp_path / "mnist", subsets=(subset,), prefix="fashion_", packed=False)
    with caplog.at_level(logging.WARNING):
        dataset = MnistLayout.read(root, "7")
    assert "4 of 6 images of class 7 are used for training" in caplog.text
    assert [int(s.path.name) for s in dataset.train] == [7, 17, 37, 47]
    assert {s.path for s in dataset.train} | {s.path for s in dataset.test} == {
        root / f"fashion_{subset}-images-idx3-ubyte" / str(i) for i in range(60)
    }
    assert len(dataset.test) == 56
    assert [int(s.path.name) for s in dataset.test if s.label == NORMAL] == [27, 57]


def test_folders_of_torchvision_are_recognized(tmp_path):
    write_digits(tmp_path / "MNIST" / "raw", subsets=("train", "t10k"))
    for root in (tmp_path, tmp_path / "MNIST"):
        (dataset,) = open_datasets(root, classes=ClassChoice(normal=("0",)))
        assert (dataset.layout, len(dataset.train)) == ("mnist", 6)
    assert not MnistLayout.recognizes(tmp_path / "nothing")


def test_every_class_in_turn(tmp_path):
    dataset = open_datasets(write_digits(tmp_path / "m"), category="all")
    assert [dataset.name for dataset in dataset] == [f"m_{number}" for number in range(10)]


def test_the_normal_class_must_be_named_and_exist(tmp_path):
    root = write_digits(tmp_path / "m")
    with pytest.raises(DataError, match="--normal-class 0 to 9"):
        open_datasets(root)
    with pytest.raises(DataError, match="--normal-class 10: expected a class from 0 to 9"):
        open_datasets(root, classes=ClassChoice(normal=("10",)))
    with pytest.raises(DataError, match="mean the same"):
        open_datasets(root, classes=ClassChoice(normal=("1",)), category="1")


def test_files_that_do_not_match_are_rejected(tmp_path):
    root = write_digits(tmp_path / "m")
    write_idx(root / "t10k-labels-idx1-ubyte.gz", np.zeros(59))
    with pytest.raises(DataError, match=r"labels of shape \(59,\) for images of shape \(60, 12, 12\)"):
        MnistLayout.read(root, "1")
    write_idx(root / "t10k-labels-idx1-ubyte.gz", np.full(60, 12))
    with pytest.raises(DataError, match="label 12"):
        MnistLayout.read(root, "1")
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no label file"):
        MnistLayout.read(root, "1")
    write_digits(root, prefix="fashion_")
    with pytest.raises(DataError, match="one folder per dataset"):
        MnistLayout.read(root, "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="layout; expected"):
        MnistLayout.read(tmp_path / "empty", "1")


def test_fingerprints_depend_on_the_images(tmp_path):
    dataset, same = (MnistLayout.read(write_digits(tmp_path / name), "2") for name in ("a", "b"))
    assert dataset.fingerprint() == same.fingerprint()
    assert dataset.fingerprint() != MnistLayout.read(tmp_path / "a", "3").fingerprint()
    assert len(content_keys(dataset.train)) == len(dataset.train) == 4


@pytest.mark.realdata
def test_the_published_test_file(real_data):
    dataset = MnistLayout.read(real_data / "small", "3")
    assert (len(dataset.train), len(dataset.test)) == (674, 10_000 - 674)
