"""Every registered layout passes the public checks, and a broken one does not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from offnormal import registry
from offnormal.data.class_split import ClassChoice
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.mvtec import MvtecLayout
from offnormal.data.open import open_datasets
from offnormal.errors import ConfigError
from offnormal.sources.paths import images_in
from offnormal.testing import check_layout
from offnormal.testing import layout as checks
from offnormal.types import ANOMALOUS
from tests.data import published
from tests.data.footage import cells, clip, write_video
from tests.data.idx_files import write_digits
from tests.data.tree import draw

LABELS = np.array([0, 1, 1], np.uint8)
MASKS = LABELS[:, None, None] * np.eye(4, 6, dtype=np.uint8)  # for a folder of frames
FILM_MASKS = LABELS[:, None, None] * np.eye(32, 48, dtype=np.uint8)


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
        write_video(root / folder / "01.avi", 3)
    truth = root / "ground_truth_demo/testing_label_mask"
    truth.mkdir(parents=True)
    savemat(truth / "1_label.mat", {"volLabel": cells(list(FILM_MASKS))})


def write_shanghaitech(root):
    write_video(root / "training/videos/01_001.avi", 3)
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


def write_street_scene(root):
    for name in ("Train/Train001", "Test/Test001"):
        clip(root / name, 3, suffix=".jpg")
    (root / "Test/Test001/Test001_gt.txt").write_text("002.jpg 0 2 1 2 2\n003.jpg 0 2 1 2 2\n")


def write_ucf_crime(root):
    for name in ("Training_Normal_Videos_Anomaly/Normal_Videos001_x264", "Abuse/Abuse028_x264"):
        write_video(root / f"{name}.mp4", 3, fps=30)
    (root / "Temporal_Anomaly_Annotation.txt").write_text("Abuse028_x264.mp4  Abuse  2  3  -1  -1\n")


def write_ubnormal(root):
    for name in ("normal", "abnormal"):
        write_video(root / f"Scene1/{name}_scene_1_scenario_1.mp4", 3)
    tracks = root / "Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt"
    tracks.parent.mkdir()
    tracks.write_text("1,1,2\n")


def write_nwpu_campus(root):
    write_video(root / "train/D001_01.avi", 3)
    write_video(root / "test/D001_02.avi", 3)
    np.savez(root / "gt.npz", D001_02=LABELS)


def write_iitb_corridor(root):
    write_video(root / "Train/000001/000001.avi", 3)
    write_video(root / "Test/000209/000209.avi", 3)
    (root / "Annotation/000209").mkdir(parents=True)
    np.save(root / "Annotation/000209/000209.npy", LABELS)


def write_mnist(root):
    write_digits(root, subsets=("train", "t10k"), per_class=1)


def write_classes(normal, anomalous):
    def write(root):
        for number in range(4):
            write_video(root / normal / f"{number:03}" / f"{number}.avi", 2)
        write_video(root / anomalous / "001" / "a.avi", 2)

    return write


def write_videos(root):
    write_video(root / "train/a.mp4", 3)
    write_video(root / "test/b.mp4", 3)
    for folder, values in (("labels", LABELS), ("masks", FILM_MASKS)):
        (root / folder).mkdir()
        np.save(root / folder / "b.npy", values)


def write_folder(root):
    draw(root, "1.png", "lot 2/2.png")


CASES = {  # layout -> function that writes its tree, and arguments of open_datasets
    "mvtec": (write_mvtec, {}),
    "ganomaly": (write_ganomaly, {}),
    "street_scene": (write_street_scene, {}),
    "mvtec_ad_2": (published.mvtec_ad_2, {"category": "can"}),
    "mvtec_loco": (published.mvtec_loco, {"category": "breakfast_box"}),
    "visa": (published.visa, {"category": "candle"}),
    "btad": (published.btad, {"category": "01"}),
    "mpdd": (published.mpdd, {"category": "tubes"}),
    "real_iad": (published.real_iad, {"category": "zipper"}),
    "kolektor_sdd": (published.kolektor_sdd, {}),
    "kolektor_sdd2": (published.kolektor_sdd2, {}),
    "manifest": (published.manifest, {}),
    "ok_ng": (published.ok_ng, {}),
    "ucsd": (write_ucsd, {}),
    "avenue": (write_avenue, {}),
    "shanghaitech": (write_shanghaitech, {}),
    "ucf_crime": (write_ucf_crime, {}),
    "ubnormal": (write_ubnormal, {}),
    "nwpu_campus": (write_nwpu_campus, {}),
    "iitb_corridor": (write_iitb_corridor, {}),
    "redistributed": (write_redistributed, {}),
    "memae": (write_memae, {}),
    "mnist": (write_mnist, {"classes": ClassChoice(normal=("3",))}),
    "ucf_sports": (write_classes("Run-Side", "Lifting"), {}),
    "class_folders": (write_classes("walk", "fight"), {"classes": ClassChoice(normal=("walk",))}),
    "videos": (write_videos, {}),
    "folder": (write_folder, {}),
}


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_contract(name, tmp_path):
    write, choice = CASES[name]
    check_layout(name, write, tmp_path, **choice)


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_no_other_layout_recognizes_the_tree(name, tmp_path):
    CASES[name][0](tmp_path)
    others = {other for other in registry.names("layouts") if other not in (name, "videos", "folder")}
    takers = {other for other in others if registry.resolve("layouts", other).recognizes(tmp_path)}
    tried_later = {"shanghaitech": {"redistributed"}, "street_scene": {"ucsd"}}
    assert takers == tried_later.get(name, set())


@pytest.mark.parametrize("name", ["mvtec", "ucsd", "redistributed", "memae", "videos"])
def test_folders_of_datasets_are_recognized_too(name, tmp_path):
    for category in ("UCSDped1", "UCSDped2"):
        CASES[name][0](tmp_path / category)
    datasets = open_datasets(tmp_path, category="all")
    assert [(each.layout, each.category) for each in datasets] == [(name, "UCSDped1"), (name, "UCSDped2")]


class Plain(MvtecLayout):
    """A correct layout; each class below breaks one rule."""

    @classmethod
    def read(cls, root, category=None):
        return replace(MvtecLayout.read(root, category), layout="broken")


class Wordless(Plain):
    license = ""


class Shy(Plain):
    recognizes = staticmethod(lambda root: False)


class Untidy(Plain):
    @classmethod
    def read(cls, root, category=None):
        (root / "index.txt").write_text("read")
        return super().read(root, category)


class Greedy(Plain):
    recognizes = staticmethod(lambda root: True)


class Undecided(Plain):
    recognizes = staticmethod(lambda root: (root / "train/good").is_dir() or None)


class Blind(Plain):
    @classmethod
    def read(cls, root, category=None):
        return super().read(root) if any(root.iterdir()) else Dataset(name="set", layout="broken", root=root)


class Repeating(Plain):
    categories = staticmethod(lambda root: ["set", "set"])


class Stranger(Plain):
    @classmethod
    def read(cls, root, category=None):
        return replace(super().read(root, category), layout="mvtec")


class Leaking(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, train=dataset.train + tuple(item for item in dataset.test if not item.label))


class Misguided(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, train=tuple(replace(item, label=ANOMALOUS) for item in dataset.train))


class Absolute(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, train=tuple(replace(item, name=item.address) for item in dataset.train))


class Forgiving(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, test=tuple(replace(item, label=0, masks=None) for item in dataset.test))


class Lost(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, train=(*dataset.train, replace(dataset.train[0], address=str(root), name="lost")))


class Placed(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        return replace(dataset, name=str(root))


class Collecting(Plain):
    @classmethod
    def read(cls, root, category=None):
        dataset = super().read(root, category)
        stray = [path for path in root.iterdir() if path.is_file() and path not in images_in(root)]
        extra = [replace(dataset.test[0], address=str(path), name=path.name) for path in stray]
        return replace(dataset, test=(*dataset.test, *extra))


@pytest.fixture
def register(monkeypatch):
    """Register a class under the name "broken"."""

    def add(layout):
        entry = registry.Entry(f"{__name__}:{layout.__name__}", "broken")
        built_in = {"broken": entry, **registry._BUILT_IN["layouts"]}
        monkeypatch.setitem(registry._BUILT_IN, "layouts", built_in)
        registry._entries.cache_clear()

    yield add
    registry._entries.cache_clear()


def test_the_base_of_the_broken_layouts_is_correct(register, tmp_path):
    register(Plain)
    check_layout(Plain, write_mvtec, tmp_path)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Wordless, "check_description", "license"),
        (Shy, "check_recognition", "recognized as mvtec, expected broken"),
        (Untidy, "check_recognition", "reading changes the tree"),
        (Greedy, "check_other_folders", "recognized as a dataset, expected False"),
        (Undecided, "check_other_folders", "expected True or False"),
        (Blind, "check_refusals", "expected a DataError"),
        (Repeating, "check_categories", "'set', 'set'"),
        (Stranger, "check_items", "layout='mvtec', expected 'broken'"),
        (Leaking, "check_items", "twice in the splits"),
        (Misguided, "check_items", "has label 1"),
        (Absolute, "check_items", "name '/"),
        (Forgiving, "check_labels", "no anomalous items in the test split"),
        (Lost, "check_loading", "lost"),
        (Placed, "check_repeats", "read from a copy"),
        (Collecting, "check_stray_files", "notes.txt"),
    ],
)
def test_a_broken_layout_fails_its_check(broken, check, message, register, tmp_path):
    register(broken)
    case = checks._LayoutCase("broken", write_mvtec, tmp_path, {})
    with pytest.raises(AssertionError, match=message):
        getattr(checks, f"_{check}")(case)


def test_a_failed_check_names_itself(register, tmp_path):
    register(Wordless)
    with pytest.raises(AssertionError) as caught:
        check_layout("broken", write_mvtec, tmp_path)
    assert "check_description of broken" in caught.value.__notes__[0]


def test_an_unregistered_class_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match=r"Plain is not registered.*entry points"):
        check_layout(Plain, write_mvtec, tmp_path)
