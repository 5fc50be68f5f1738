import numpy as np
import pytest

from offnormal.data.layouts.iitb_corridor import IitbCorridorLayout
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import clip, write_video

LABELS = {"000209": [0, 1, 1, 0, 0, 0], "000210": [0] * 6}


def corridor(
    root,
    *,
    train="Train_IITB_Corridor/Train",
    test="Test_IITB-Corridor/Test",
    labels="Test_IITB-Corridor/Test_Annotation/Annotation",
    frames=False,
):
    def write(folder, count):
        if frames:
            clip(folder, count, suffix=".jpg")
        else:
            write_video(folder / f"{folder.name}.avi", count)

    for name in ("000001", "000002"):
        write(root / train / name, 4)
    for name, values in LABELS.items():
        write(root / test / name, 6)
        (root / labels / name).mkdir(parents=True)
        np.save(root / labels / name / f"{name}.npy", np.array(values, np.float64))
    return root


@pytest.mark.parametrize(
    ("train", "test", "labels", "frames"),
    [
        (
            "Train_IITB_Corridor/Train",
            "Test_IITB-Corridor/Test",
            "Test_IITB-Corridor/Test_Annotation/Annotation",
            False,
        ),
        ("Train", "Test", "Annotation", False),
        ("training", "testing", "groundtruth", True),
    ],
)
def test_train_test_and_labels(tmp_path, train, test, labels, frames):
    root = corridor(tmp_path / "set", train=train, test=test, labels=labels, frames=frames)
    (dataset,) = open_datasets(root)
    assert dataset.layout == "iitb_corridor"
    assert [item.name for item in dataset.train] == ["000001", "000002"]
    assert {item.name: item.frame_labels.tolist() for item in dataset.test} == LABELS


def test_labels_that_are_missing_or_do_not_match_are_refused(tmp_path):
    root = corridor(tmp_path)
    file = root / "Test_IITB-Corridor/Test_Annotation/Annotation/000210/000210.npy"
    np.save(file, np.zeros(7))
    with pytest.raises(DataError, match="7 labels for 6 frames"):
        IitbCorridorLayout.read(root)
    file.unlink()
    with pytest.raises(DataError, match=r"000210\.avi: no labels; expected .*000210\.npy"):
        IitbCorridorLayout.read(root)
