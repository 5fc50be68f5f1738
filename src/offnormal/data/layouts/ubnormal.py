"""UBnormal as published: videos of each scene, and tracks of the anomalous objects of each abnormal video."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import check_label_count, clip_spans
from offnormal.data.label_table import read_label_table
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import count_if_readable, video_items
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError, counted
from offnormal.sources.paths import natural_key, videos_in
from offnormal.types import Item

_NAME = re.compile(r"(ab)?normal_scene_\d+_scenario.*", re.IGNORECASE)
_SCENE = re.compile(r"scene_?\d+", re.IGNORECASE)
_TRACKS = ("{}_new_tracks.txt", "{}_tracks.txt")  # the first are corrections
_FRAMES = "ground_truth_frame_level.txt"
_SPLITS = ("training", "validation", "test")


class UbnormalLayout(SingleCategoryLayout):
    """`SceneN/normal_scene_N_scenario_M.mp4`, `SceneN/abnormal_...mp4`, and `abnormal_..._annotations`.

    The tracks in the annotations (number, first and last frame, from 0) are the frame labels; the images next to them
    show normal objects as well and are ignored. With the authors' lists `normal_training_video_names.txt`, ... in the
    folder or in `scripts`, the split is theirs, without abnormal videos for training and validation; without the lists,
    all normal videos are for training, and all abnormal ones for the test.
    """

    tree = (
        "Scene1/normal_scene_1_scenario_1.mp4  Scene1/abnormal_scene_1_scenario_1.mp4  "
        "Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt  "
        "[scripts/normal_training_video_names.txt ...]"
    )
    source = "UBnormal, https://github.com/lilygeorgescu/UBnormal"
    license = "CC BY-NC-ND 4.0: non-commercial; cite Acsintoae et al., CVPR 2022"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder, or `UBnormal` in it, contains scenes with videos named as published."""
        return bool(_videos(_inner(root)))

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree, a list, or tracks are not as expected."""
        reject_category(category, "ubnormal")
        folder = _inner(root)
        videos = _videos(folder)
        if not videos:
            raise DataError(f"{root}: not the ubnormal layout; expected {UbnormalLayout.tree}")
        lists = {split: _names(root, folder, split) for split in _SPLITS}
        abnormal = {name for name in videos if _is_abnormal(name)}
        if not any(lists.values()):
            lists = {"training": set(videos), "validation": set(), "test": abnormal}
        used = {split: names if split == "test" else names - abnormal for split, names in lists.items()}
        train, validation, test = ([p for name, p in videos.items() if name in used[split]] for split in _SPLITS)
        return Dataset(
            name=root.resolve().name,
            layout="ubnormal",
            root=folder,
            train=video_items(train),
            calibration=video_items(validation),
            test=tuple(_labeled(path) for path in test),
        )


def _inner(root: Path) -> Path:
    return root / "UBnormal" if (root / "UBnormal").is_dir() else root


def _videos(folder: Path) -> dict[str, Path]:
    scenes = [scene for scene in subfolders(folder) if _SCENE.fullmatch(scene.name)]
    paths = [path for scene in scenes for path in videos_in(scene) if _NAME.fullmatch(path.stem)]
    return {path.stem: path for path in sorted(paths, key=natural_key)}


def _is_abnormal(name: str) -> bool:
    return name.casefold().startswith("abnormal")


def _names(root: Path, folder: Path, split: str) -> set[str]:
    """Return the names in the lists of a split, normal and abnormal; empty without lists."""
    names: set[str] = set()
    for kind in ("normal", "abnormal"):
        parents = (folder, folder / "scripts", root, root / "scripts")
        files = (parent / f"{kind}_{split}_video_names.txt" for parent in parents)
        if (file := next((path for path in files if path.is_file()), None)) is not None:
            names.update(file.read_text(encoding="utf-8", errors="replace").split())
    return names


def _labeled(path: Path) -> Item:
    return Item(address=str(path), is_video=True, name=path.stem, frame_labels=_labels(path))


def _labels(path: Path) -> np.ndarray | None:
    if (frames := count_if_readable(path)) is None:
        return None
    if not _is_abnormal(path.stem):
        return np.zeros(frames, dtype=np.uint8)
    folders = [path.with_name(f"{path.stem}_annotations"), path.with_name(path.stem)]
    files = [folder / name.format(path.stem) for name in _TRACKS for folder in folders]
    if (tracks := next((file for file in files if file.is_file()), None)) is not None:
        return clip_spans(_read_tracks(tracks), frames, str(tracks))
    if (table := next((folder / _FRAMES for folder in folders if (folder / _FRAMES).is_file()), None)) is not None:
        return check_label_count(read_label_table(table, path), path, str(table))
    raise DataError(f"{path}: no frame labels; expected {files[1]}")


def _read_tracks(path: Path) -> list[tuple[int, int]]:
    spans = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        cells = re.split(r"[,;\s]+", line.strip())
        try:
            values = [float(cell) for cell in cells if cell]
        except ValueError:
            values = [0.0]
        if not values:
            continue
        if len(values) < 3 or not 0 <= values[1] <= values[2]:
            raise DataError(f"{path}, line {number}: {line.strip()!r}; expected a track, its first, and its last frame")
        spans.append((int(values[1]), int(values[2])))
    if not spans:
        raise DataError(f"{path}: {counted(0, 'track')}; expected the tracks of an abnormal video")
    return spans
