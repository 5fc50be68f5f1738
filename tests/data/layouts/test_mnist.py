import logging

import numpy as np
import pytest

from offnormal.data.class_split import ClassChoice
from offnormal.data.layouts.mnist import MnistLayout
from offnormal.data.loaders import ImageLoader
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL, InputSpec
from tests.data.idx_files import draw_digits, write_digits, write_idx


def shown(samples):
    """Pictures of samples, at their own size."""
    (batch,) = ImageLoader(samples, InputSpec(size=(12, 12), channels=1), batch_size=1000)
    return (batch.pixels[:, 0] * 255).round().astype(np.uint8)


def test_with_both_files_one_is_learned_from_and_the_other_tested_on(tmp_path, caplog):
    root = write_digits(tmp_path / "mnist", parts=("train", "t10k"))
    found = MnistLayout.read(root, "3")
    assert (found.name, found.layout, found.category) == ("mnist_3", "mnist", "3")
    labels = np.tile(np.arange(10), 6)
    assert np.array_equal(shown(found.train), draw_digits(labels, seed=0)[labels == 3])
    assert np.array_equal(shown(found.test), draw_digits(labels, seed=1))
    assert [s.label for s in found.test] == [NORMAL if number == 3 else ANOMALOUS for number in labels]
    assert [s.class_name for s in found.test[:5]] == ["class 0", "class 1", "class 2", "good", "class 4"]
    assert not caplog.records


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_with_one_file_two_thirds_are_learned_from_and_nothing_is_used_twice(tmp_path, caplog, part):
    root = write_digits(tmp_path / "mnist", parts=(part,), before="fashion_", packed=False)
    with caplog.at_level(logging.WARNING):
        found = MnistLayout.read(root, "7")
    assert "4 of 6 images of class 7 are used for training" in caplog.text
    assert [int(s.path.name) for s in found.train] == [7, 17, 37, 47]
    assert {s.path for s in found.train} | {s.path for s in found.test} == {
        root / f"fashion_{part}-images-idx3-ubyte" / str(i) for i in range(60)
    }
    assert len(found.test) == 56
    assert [int(s.path.name) for s in found.test if s.label == NORMAL] == [27, 57]


def test_it_is_recognized_also_where_torchvision_puts_it(tmp_path):
    write_digits(tmp_path / "MNIST" / "raw", parts=("train", "t10k"))
    for root in (tmp_path, tmp_path / "MNIST"):
        (found,) = open_datasets(root, classes=ClassChoice(normal=("0",)))
        assert (found.layout, len(found.train)) == ("mnist", 6)
    assert not MnistLayout.recognizes(tmp_path / "nothing")


def test_every_class_in_turn(tmp_path):
    found = open_datasets(write_digits(tmp_path / "m"), category="all")
    assert [dataset.name for dataset in found] == [f"m_{number}" for number in range(10)]


def test_the_class_must_be_said_and_exist(tmp_path):
    root = write_digits(tmp_path / "m")
    with pytest.raises(DataError, match="--normal-class 0 to 9"):
        open_datasets(root)
    with pytest.raises(DataError, match="--normal-class 10: expected a class from 0 to 9"):
        open_datasets(root, classes=ClassChoice(normal=("10",)))
    with pytest.raises(DataError, match="mean the same"):
        open_datasets(root, classes=ClassChoice(normal=("1",)), category="1")


def test_what_does_not_fit_together_is_refused(tmp_path):
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
    write_digits(root, before="fashion_")
    with pytest.raises(DataError, match="one folder per dataset"):
        MnistLayout.read(root, "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="layout; expected"):
        MnistLayout.read(tmp_path / "empty", "1")


def test_fingerprints_tell_the_pictures_apart(tmp_path):
    found, same = (MnistLayout.read(write_digits(tmp_path / name), "2") for name in ("a", "b"))
    assert found.fingerprint() == same.fingerprint()
    assert found.fingerprint() != MnistLayout.read(tmp_path / "a", "3").fingerprint()
    assert len(set(found.content_hashes())) == len(found.train) == 4


@pytest.mark.realdata
def test_the_published_test_file(real_data):
    found = MnistLayout.read(real_data / "small", "3")
    assert (len(found.train), len(found.test)) == (674, 10_000 - 674)
