"""Section 2: what is found in a tree of each layout (path, label, defect, mask, group, split), and what is refused."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import numpy as np
from fitted import fit
from inputs import frame_folder
from program import Program, internal, read_json

_INTERVALS = (
    "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\nTestVideoFile{end+1}.gt_frame = [1:1, 6:6];\n"
)


def record(program: Program) -> dict[str, Any]:
    """An entry for each tree, listed, and for each refusal of `fit`."""
    root = program.folder("layouts")
    results: dict[str, Any] = {}
    for name, (make, options) in _TREES.items():
        folder = make(root / name.replace(" ", "-"))
        results[f"tree {name}"] = program.ask(lambda folder=folder, options=options: _listed(folder, options))
    for name, (make, flags) in _WRONG.items():
        folder = make(root / f"wrong-{name.replace(' ', '-')}")
        words = [
            str(folder) if flag == "ROOT" else str(folder / flag[5:]) if flag[:5] == "ROOT/" else flag for flag in flags
        ]
        done, _ = fit(program, "pixel_gaussian", *words, "--size", 16, out=folder.parent / "runs")
        results[f"refused {name}"] = done.entry(json=True)
    for name in ("mvtec", "videos", "classes"):
        make, options = _TREES[name]
        folder, words = make(root / f"fit-{name}"), []
        for key, value in options.items():
            words += [f"--{key.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
        done, run = fit(program, "pixel_gaussian", "--data", folder, *words, "--size", 16, out=root / f"runs-{name}")
        results[f"fit {name}"] = {
            **done.entry(json=True),
            "split": None if run is None else read_json(run / "split.json"),
        }
    return results


def _listed(root: Path, options: dict[str, Any]) -> Any:
    """Every item of every part of the data sets in a folder."""
    chosen = {
        key: value for key, value in options.items() if key not in ("normal_classes", "anomalous_classes", "parts")
    }
    for key in ("normal", "test", "masks"):
        if key in chosen:
            chosen[key] = root / chosen[key]
    try:
        find = internal("offnormal.data.open:open_datasets")
        normal = tuple(options.get("normal_classes", ()))
        if "normal_class" in chosen and "normal_class" not in inspect.signature(find).parameters:
            normal = (chosen.pop("normal_class"),)
        if len(chosen) != len(options):
            chosen["classes"] = internal("offnormal.data.class_split:ClassChoice")(
                normal=normal, anomalous=tuple(options.get("anomalous_classes", ()))
            )
        sets = find(None if {"normal", "test"} & chosen.keys() else root, **chosen)
    except LookupError as error:
        return str(error.args[0])
    return [
        {
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            "fingerprint": "sha256!" + dataset.fingerprint(),
            **{
                {"validation": "calibration"}.get(part, part): [_item(item, root) for item in getattr(dataset, part)]
                for part in ("train", "test", "validation", "calibration")
                if getattr(dataset, part, None)
            },
        }
        for dataset in sets
    ]


def _item(item: Any, root: Path) -> dict[str, Any]:
    """What is known of an item, by one name each: of an image what the first versions called defect and mask."""
    fields: dict[str, Any] = {"path": item.path, "label": item.label, "group": item.group}
    if getattr(item, "is_video", hasattr(item, "name")):
        fields["name"] = item.name
    fields["class"] = next(
        (getattr(item, name) for name in ("class_name", "defect", "action") if hasattr(item, name)), ""
    )
    labels = next((getattr(item, name) for name in ("frame_labels", "labels") if hasattr(item, name)), None)
    if labels is not None:
        fields["labels"] = "".join(str(int(flag)) for flag in labels)
    masks = getattr(item, "masks", getattr(item, "mask", None))
    if masks is not None:
        parts = (getattr(masks, "path", masks), getattr(masks, "key", None))
        fields["masks"] = " ".join(str(part) for part in parts if part is not None)
    return {
        key: value if isinstance(value, int | float) else str(value).replace(str(root), "ROOT")
        for key, value in fields.items()
        if value is not None
    }


def _images(root: Path, *names: str) -> Path:
    """Small pictures, each different."""
    for number, name in enumerate(names):
        inputs.picture(root / name, np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8))
    return root


def _mvtec(root: Path) -> Path:
    names = [f"train/good/{i}.png" for i in (1, 2, 10)] + [
        "test/good/1.png",
        "test/scratch/1.png",
        "test/scratch/2.png",
    ]
    return _images(root, *names, "ground_truth/scratch/1_mask.png", "ground_truth/scratch/2_mask.png")


def _ganomaly(root: Path) -> Path:
    return _images(
        root, "train/0.normal/1.png", "test/0.normal/2.png", "test/1.abnormal/3.png", "test/1.abnormal/4.jpg"
    )


def _lots(root: Path) -> Path:
    return _images(
        root, *(f"good/lot{lot}/{i}.png" for lot in (1, 2) for i in (1, 2)), "bad/good/1.png", "bad/dent/2.png"
    )


def _ucsd(root: Path) -> Path:
    root = root / "UCSDped1"
    for name in ("Train/Train001", "Train/Train002", "Test/Test001", "Test/Test002"):
        frame_folder(root / name, suffix=".tif")
    frame_folder(root / "Test/Test002_gt", suffix=".bmp", marked=range(2, 4))
    (root / "Test/UCSDped1.m").write_text(_INTERVALS)
    return root


def _avenue(root: Path) -> Path:
    for folder in ("training_videos", "testing_videos"):
        for number in ("01", "02"):
            inputs.video(root / folder / f"{number}.avi", inputs.film(1, frames=6), codec="mpeg4")
    (root / "ground_truth_demo/testing_label_mask").mkdir(parents=True)
    for number, marked in ((1, [0]), (2, [1, 2])):
        row = np.empty((1, 6), object)
        for i in range(6):
            row[0, i] = np.zeros((64, 64), np.uint8)
            row[0, i][30, 5] = i in marked
        _savemat(root / f"ground_truth_demo/testing_label_mask/{number}_label.mat", {"volLabel": row})
    return root


def _shanghaitech(root: Path) -> Path:
    labels = np.array([0, 0, 1, 1, 0, 0], np.uint8)
    inputs.video(root / "training/videos/01_001.avi", inputs.film(1, frames=6), codec="mpeg4")
    for name in ("01_0014", "12_0142"):
        frame_folder(root / "testing/frames" / name, first=0, suffix=".jpg")
        for folder, values in (
            ("test_frame_mask", labels),
            ("test_pixel_mask", labels[:, None, None] * np.ones((32, 48))),
        ):
            (root / "testing" / folder).mkdir(parents=True, exist_ok=True)
            np.save(root / "testing" / folder / f"{name}.npy", values.astype(np.uint8))
    return root


def _redistributed(root: Path) -> Path:
    frame_folder(root / "training/frames/01", first=0, suffix=".jpg")
    for name, length in (("01", 6), ("02", 4), ("10", 5)):
        frame_folder(root / "testing/frames" / name, length, first=0, suffix=".jpg")
    np.save(root / "frame_labels_redistributed.npy", np.array([0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1], np.int64))
    return root


def _memae(root: Path) -> Path:
    for name in ("Train/Video001", "Test/Video001", "Test/Video002"):
        frame_folder(root / name, suffix=".jpg")
    (root / "Test_gt").mkdir()
    for number, first in ((1, 0), (2, 4)):
        _savemat(root / f"Test_gt/Video00{number}.mat", {"l": (np.arange(6)[None] >= first).astype(np.uint8)})
    return root


def _videos(root: Path) -> Path:
    for name in ("train/0.mp4", "train/1.mp4", "test/a.mp4", "test/b.mp4", "test/in/c.mp4"):
        inputs.video(root / name, inputs.film(len(name) + ord(name[-5]), frames=6))
    frame_folder(root / "test/d")
    (root / "labels").mkdir()
    (root / "labels/a.csv").write_text("0\n0\n1\n1\n0\n0\n")
    np.save(root / "labels/b.npy", np.array([1, 1, 0, 0, 0, 0]))
    (root / "test/d.txt").write_text("0 0 0 0 0 1")
    np.savez(root / "gt.npz", **{"frame_labels_in/c": np.array([0, 1] * 3)})
    (root / "masks").mkdir()
    np.save(root / "masks/b.npy", np.ones((6, 64, 64), np.uint8))
    return root


def _sports(root: Path) -> Path:
    for kind in ("Run-Side", "Kicking-Front", "Swing-Bench", "Diving-Side", "Lifting", "Walk-Front"):
        for number in ("001", "002", "003"):
            images = inputs.film(len(kind) + int(number), frames=6)
            inputs.video(root / "ucf action" / kind / number / f"{kind}_{number}.avi", images, codec="mpeg4")
    return root


def _moves(root: Path) -> Path:
    return inputs.movements(root, clips=5, frames=6)


def _several(root: Path) -> Path:
    _mvtec(root / "bolt")
    _mvtec(root / "nut")
    return root


_TREES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "mvtec": (_mvtec, {"group_by": r"(\d)\.png"}),
    "mvtec all": (_several, {"category": "all"}),
    "mvtec one": (_several, {"category": "nut"}),
    "ganomaly": (_ganomaly, {}),
    "plain": (_lots, {"normal": "good", "test": "bad", "group_by": "folder"}),
    "folder": (lambda root: _images(root, "a/1.png", "a/2.jpg", "b/10.png", "b/9.png", "b/.hidden.png"), {}),
    "mnist": (inputs.digits, {"normal_class": "3"}),
    "ucsd": (_ucsd, {}),
    "avenue": (_avenue, {}),
    "shanghaitech": (_shanghaitech, {}),
    "redistributed": (_redistributed, {}),
    "memae": (_memae, {}),
    "videos": (_videos, {}),
    "videos grouped": (_videos, {"group_by": r"(\w)\.mp4|(d)"}),
    "one folder of videos": (lambda root: _videos(root) / "train", {}),
    "ucf_sports": (_sports, {}),
    "classes": (_moves, {"normal_classes": ["move_a", "move_b"]}),
    "classes anomalous": (_moves, {"anomalous_classes": ["move_b"]}),
}


def _with(make: Callable[[Path], Path], change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make_and_change(root: Path) -> Path:
        folder = make(root)
        change(folder)
        return folder

    return make_and_change


def _savemat(path: Path, values: dict[str, Any]) -> None:
    """A file of MATLAB without the time of writing, which the fingerprint of the data would hold."""
    from scipy.io import savemat

    savemat(path, values)
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])


def _nothing(root: Path) -> Path:
    root.mkdir(parents=True)
    return root


_DATA = ["--data", "ROOT"]
_WRONG: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "nothing there": (lambda root: root, _DATA),
    "empty": (_nothing, _DATA),
    "unknown layout": (_mvtec, [*_DATA, "--layout", "mvtek"]),
    "other layout": (_mvtec, [*_DATA, "--layout", "ucsd"]),
    "category missing": (_several, _DATA),
    "category unknown": (_several, [*_DATA, "--category", "gear"]),
    "category of one": (_ganomaly, [*_DATA, "--category", "gear"]),
    "category all of one": (_mvtec, [*_DATA, "--category", "all"]),
    "mask missing": (_with(_mvtec, lambda root: (root / "ground_truth/scratch/2_mask.png").unlink()), _DATA),
    "loose test image": (_with(_mvtec, lambda root: _images(root, "test/loose.png")), _DATA),
    "no training images": (_with(_mvtec, lambda root: shutil.rmtree(root / "train")), _DATA),
    "no test images": (_with(_mvtec, lambda root: shutil.rmtree(root / "test")), _DATA),
    "broken image": (_with(_mvtec, lambda root: (root / "train/good/2.png").write_bytes(b"\x89PNGno")), _DATA),
    "broken image skipped": (
        _with(_mvtec, lambda root: (root / "train/good/2.png").write_bytes(b"\x89PNGno")), [*_DATA, "--on-bad", "skip"],
    ),
    "group by nothing": (_mvtec, [*_DATA, "--group-by", "lot(.)"]),
    "group by wrong": (_mvtec, [*_DATA, "--group-by", "("]),
    "data and normal": (_mvtec, [*_DATA, "--normal", "ROOT/train"]),
    "normal in test": (_lots, ["--normal", "ROOT/good", "--test", "ROOT/good/lot1"]),
    "no normal folder": (_lots, ["--normal", "ROOT/nowhere"]),
    "normal class of images": (_mvtec, [*_DATA, "--normal-class", "3"]),
    "normal class missing": (inputs.digits, _DATA),
    "normal class unknown": (inputs.digits, [*_DATA, "--normal-class", "11"]),
    "class unknown": (_moves, [*_DATA, "--normal-classes", "move_x"]),
    "class twice": (_moves, [*_DATA, "--normal-classes", "move_a", "--anomalous-classes", "move_a"]),
    "split not 100": (_moves, [*_DATA, "--normal-classes", "move_a", "--parts", "50/40/20"]),
    "images and videos": (_with(_videos, lambda root: _images(root, "loose.png")), _DATA),
    "labels short": (_with(_videos, lambda root: (root / "labels/a.csv").write_text("0\n1\n")), _DATA),
    "labels not 0 1": (_with(_videos, lambda root: (root / "labels/a.csv").write_text("0\n1\n2\n0\n0\n0\n")), _DATA),
    "masks short": (_with(_videos, lambda root: np.save(root / "masks/b.npy", np.ones((5, 64, 64)))), _DATA),
    "interval too long": (
        _with(_ucsd, lambda root: (root / "Test/UCSDped1.m").write_text(re.sub("2:3", "2:9", _INTERVALS))), _DATA,
    ),
    "empty video": (_with(_videos, lambda root: (root / "train/0.mp4").write_bytes(b"")), _DATA),
    "masks of videos": (_videos, ["--normal", "ROOT/train", "--masks", "ROOT/masks"]),
}  # fmt: skip
