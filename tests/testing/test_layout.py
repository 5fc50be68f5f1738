"""Every registered layout passes the public checks, and a broken one does not."""

import numpy as np
import pytest
from scipy.io import savemat

from offnormal import registry
from offnormal.data.class_split import ClassChoice
from offnormal.testing import check_layout
from tests.data.footage import cells, clip, film
from tests.data.idx_files import write_digits
from tests.data.tree import draw

LABELS = np.array([0, 1, 1], np.uint8)
MASKS = LABELS[:, None, None] * np.eye(4, 6, dtype=np.uint8)


def write_mvtec(root):
    draw(root, "train/good/1.png", "train/good/2.png", "train/good/10.png", "test/good/1.png", "test/hole/1.png")


def write_ganomaly(root):
    draw(root, "train/0.normal/1.png", "test/0.normal/1.png", "test/1.abnormal/1.png")


def write_ucsd(root):
    for name in ("Train/Train001", "Test/Test001"):
        clip(root / name, 3)
    clip(root / "Test/Test001_gt", 3, suffix=".bmp", marked=range(1, 3))
    (root / "Test/intervals.m").write_text("TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\n")


def write_avenue(root):
    for folder in ("training_videos", "testing_videos"):
        film(root / folder / "01.avi", 3)
    truth = root / "ground_truth_demo/testing_label_mask"
    truth.mkdir(parents=True)
    savemat(truth / "1_label.mat", {"volLabel": cells(list(LABELS[:, None, None] * np.eye(32, 48, dtype=np.uint8)))})


def write_shanghaitech(root):
    film(root / "training/videos/01_001.avi", 3)
    clip(root / "testing/frames/01_0014", 3, start=0, suffix=".jpg")
    for folder, values in (("test_frame_mask", LABELS), ("test_pixel_mask", MASKS)):
        (root / "testing" / folder).mkdir()
        np.save(root / "testing" / folder / "01_0014.npy", values)


def write_redistributed(root):
    clip(root / "training/frames/01", 3, start=0, suffix=".jpg")
    clip(root / "testing/frames/01", 3, start=0, suffix=".jpg")
    np.save(root / "frame_labels.npy", LABELS)


def write_memae(root):
    for name in ("Train/Video001", "Test/Video001"):
        clip(root / name, 3, suffix=".jpg")
    (root / "Test_gt").mkdir()
    savemat(root / "Test_gt/Video001.mat", {"l": LABELS[None]})


def write_mnist(root):
    write_digits(root, parts=("train", "t10k"), per_class=1)


def write_classes(normal, anomalous):
    def write(root):
        for number in range(4):
            film(root / normal / f"{number:03}" / f"{number}.avi", 2)
        film(root / anomalous / "001" / "a.avi", 2)

    return write


def write_videos(root):
    film(root / "train/a.mp4", 3)
    film(root / "test/b.mp4", 3)
    (root / "labels").mkdir()
    np.save(root / "labels/b.npy", LABELS)
    clip(root / "masks/b", 3, start=0, suffix=".png", marked=range(1, 3))


def write_folder(root):
    draw(root, "1.png", "lot 2/2.png")


CASES = {  # layout -> how its tree is written, and what is chosen in it
    "mvtec": (write_mvtec, {}),
    "ganomaly": (write_ganomaly, {}),
    "ucsd": (write_ucsd, {}),
    "avenue": (write_avenue, {}),
    "shanghaitech": (write_shanghaitech, {}),
    "redistributed": (write_redistributed, {}),
    "memae": (write_memae, {}),
    "mnist": (write_mnist, {"normal_class": "3"}),
    "ucf_sports": (write_classes("Run-Side", "Lifting"), {}),
    "class_folders": (write_classes("walk", "fight"), {"classes": ClassChoice(normal=("walk",))}),
    "videos": (write_videos, {}),
    "folder": (write_folder, {}),
}


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_contract(name, tmp_path):
    write, choice = CASES[name]
    check_layout(name, write, tmp_path, **choice)
