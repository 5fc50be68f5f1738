"""UCF-Crime as published: class folders of videos, lists of the split, and frame spans of the test videos."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import Span, clip_spans
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import count_if_readable, video_items
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError, counted
from offnormal.sources.paths import natural_key, videos_below
from offnormal.sources.video_index import mean_fps
from offnormal.types import Item

log = logging.getLogger(__name__)
_ANNOTATION, _TRAIN = "Temporal_Anomaly_Annotation*.txt", "Anomaly_Train.txt"
_FPS, _FPS_TOLERANCE = 30.0, 0.5
_INNER = ("temporal", "ucf", "anomaly_detection")  # starts of the names of folders that may contain text files


class UcfCrimeLayout(SingleCategoryLayout):
    """Class folders at any depth, `Temporal_Anomaly_Annotation*.txt`, and `Anomaly_Train.txt`.

    Training videos are the normal ones of the list, or without it those in folders named `Training_Normal...`; the
    anomalous training videos, which have no frame labels, are not used. Test videos are those of the annotation: a
    name, a class, and the first and last frame of up to two spans, counted from 1, -1 for none.
    """

    tree = (
        "Temporal_Anomaly_Annotation*.txt  [Anomaly_Train.txt]  Training_Normal_Videos_Anomaly/NAME.mp4  "
        "Testing_Normal_Videos_Anomaly/NAME.mp4  Abuse/Abuse028_x264.mp4; folders at any depth"
    )
    source = "UCF-Crime, https://www.crcv.ucf.edu/projects/real-world/"
    license = "none stated; for research, cite Sultani et al., CVPR 2018"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder, or a folder of text files in it, contains the annotation."""
        return _text_file(root, _ANNOTATION) is not None

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or a line is not as expected."""
        reject_category(category, "ucf_crime")
        annotation = _text_file(root, _ANNOTATION)
        if annotation is None:
            raise DataError(f"{root}: not the ucf_crime layout; expected {UcfCrimeLayout.tree}")
        videos: dict[str, list[Path]] = defaultdict(list)
        for path in videos_below(root):
            videos[path.stem].append(path)
        annotated = _read_annotation(annotation)
        present = {name: spans for name, spans in annotated.items() if name in videos}
        _warn_missing(annotation, len(annotated) - len(present), len(annotated))
        if not present:
            raise DataError(f"{annotation}: none of its {counted(len(annotated), 'video')} is in {root}")
        return Dataset(
            name=root.resolve().name,
            layout="ucf_crime",
            root=root,
            train=video_items(sorted(_training_videos(root, videos, annotated.keys()), key=natural_key)),
            test=tuple(
                _labeled(_choose(videos[name], kind), kind, spans, annotation)
                for name, (kind, spans) in present.items()
            ),
        )


Annotation = dict[str, tuple[str, list[Span]]]  # video -> class and spans, counted from 0


def _text_file(root: Path, pattern: str) -> Path | None:
    children = subfolders(root)
    inner = [folder for child in children if _may_have_text(child) for folder in subfolders(child)]
    innermost = [folder for child in inner if _may_have_text(child) for folder in subfolders(child)]
    folders = (root, *children, *inner, *innermost)
    matches = (path for folder in folders for path in sorted(folder.glob(pattern)) if path.is_file())
    return next(matches, None)


def _may_have_text(folder: Path) -> bool:
    return folder.name.casefold().startswith(_INNER)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None


def _read_annotation(path: Path) -> Annotation:
    annotated: Annotation = {}
    for number, line in enumerate(_read_lines(path), 1):
        cells = line.split()
        if not cells:
            continue
        frames = [int(cell) for cell in cells[2:] if re.fullmatch(r"-?\d+", cell)]
        pairs = list(zip(frames[::2], frames[1::2], strict=False))
        spans = [(max(first, 1) - 1, last - 1) for first, last in pairs if (first, last) != (-1, -1)]
        if len(frames) != len(cells) - 2 or len(frames) % 2 or not frames or any(a > b for a, b in spans):
            raise DataError(
                f"{path}, line {number}: {line.strip()!r}; expected a video, its class, and first and last frames, "
                "-1 -1 for none: Abuse028_x264.mp4 Abuse 165 240 -1 -1"
            )
        annotated[_stem(cells[0])] = (cells[1], spans)
    return annotated


def _stem(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name


def _training_videos(root: Path, videos: dict[str, list[Path]], tested: Collection[str]) -> list[Path]:
    file = _text_file(root, _TRAIN)
    if file is None:
        return [
            path
            for name, paths in videos.items()
            for path in paths
            if name not in tested and path.parent.name.casefold().replace("-", "_").startswith("training_normal")
        ]
    lines = [line.strip() for line in _read_lines(file) if line.strip()]
    normal = [line for line in lines if "normal" in line.casefold()]
    chosen = [_choose(videos[name], line) for line in normal if (name := _stem(line)) in videos and name not in tested]
    _warn_missing(file, len(normal) - len(chosen), len(normal))
    log.info("%s: %d anomalous training videos are not used", file, len(lines) - len(normal))
    return chosen


def _choose(paths: list[Path], kind: str) -> Path:
    """Return the copy of a video in the folder of its class: 50 videos are published twice."""
    wanted = kind.replace("\\", "/").rpartition("/")[0] or kind
    return min(paths, key=lambda path: (path.parent.name != wanted, "event" in path.parent.name.casefold(), str(path)))


def _labeled(path: Path, kind: str, spans: list[Span], annotation: Path) -> Item:
    frames = count_if_readable(path)
    if frames is not None and spans and abs((rate := mean_fps(path) or _FPS) - _FPS) > _FPS_TOLERANCE:
        log.warning(
            "%s: %.4g frames per second, but the annotation counts frames at %g: use the published file, or adapt the "
            "annotation",
            path,
            rate,
            _FPS,
        )
    labels = None if frames is None else clip_spans(spans, frames, f"{annotation}, {path.stem}")
    return Item(address=str(path), is_video=True, name=path.stem, class_name=kind, frame_labels=labels)


def _warn_missing(file: Path, missing: int, total: int) -> None:
    if missing:
        log.warning("%s: %d of its %s are missing and are skipped", file, missing, counted(total, "video"))
