"""UCSD Ped1 and Ped2 as published: clips as folders of TIFF frames, spans in a `.m` file, masks in `*_gt`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import Span, labels_from_spans, ucsd_spans
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.clips import check_mask_count, clip_folders, has_clips, inner_folder, video_items
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder
from offnormal.sources.video_index import count_frames
from offnormal.types import Item, MaskSource

_WHOLE = "UCSD_Anomaly_Dataset.v1p2"
_TRAIN, _TEST = r"Train\d+", r"Test\d+"


class UcsdLayout(CategoryLayout):
    """`UCSDped1` and `UCSDped2`; the root is the whole dataset, or one of the two.

    Frame labels come from the `.m` file; without it, a frame is anomalous if its mask marks any pixel, as in the
    authors' scripts. Ped1 has masks for 10 of its 36 test clips. Other files are ignored.
    """

    name = "ucsd"
    tree = (
        "UCSDped1/Train/Train001/001.tif  UCSDped1/Test/Test001/001.tif  [UCSDped1/Test/UCSDped1.m]  "
        "[UCSDped1/Test/Test003_gt/001.bmp]"
    )
    source = "UCSD Anomaly Detection Dataset, http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm"
    license = "none stated; its authors ask to cite Mahadevan et al., CVPR 2010"

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether the folder contains `Train/Train001` or `Test/Test001`."""
        return has_clips(folder / "Train", _TRAIN) or has_clips(folder / "Test", _TEST)

    @classmethod
    def categories(cls, root: Path) -> list[str]:
        """Return which of UCSDped1 and UCSDped2 exist; empty if the folder is itself one of them."""
        return super().categories(inner_folder(root, _WHOLE))

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one of the two; DataError if the tree or the labels are not as expected."""
        folder, category = cls.select(inner_folder(root, _WHOLE), category)
        return Dataset(
            name=category or folder.resolve().name,
            layout=cls.name,
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "Train", _TRAIN)),
            test=_test_clips(folder / "Test"),
        )


def _test_clips(folder: Path) -> tuple[Item, ...]:
    clips = clip_folders(folder, _TEST)
    script = _script(folder) if clips else None
    spans = ucsd_spans(script) if script else None
    videos = []
    for clip in clips:
        masks = _masks(clip)
        labels = _labels(clip, masks) if script is None or spans is None else _from_script(clip, script, spans)
        videos.append(Item(address=str(clip), is_video=True, name=clip.name, frame_labels=labels, masks=masks))
    return tuple(videos)


def _script(folder: Path) -> Path | None:
    scripts = sorted(path for path in folder.glob("*.m") if not path.name.startswith("."))
    matches = [path for path in scripts if path.stem == folder.resolve().parent.name] or scripts
    if len(matches) > 1:
        raise DataError(
            f"{folder}: {', '.join(path.name for path in matches)}; expected one .m file of anomalous spans"
        )
    return matches[0] if matches else None


def _from_script(clip: Path, script: Path, spans: list[list[Span]]) -> np.ndarray:
    """Return the labels in the statement with the number of the clip, so that a subset of clips keeps its labels."""
    number = int(re.sub(r"\D", "", clip.name))
    if not 1 <= number <= len(spans):
        raise DataError(f"{script}: no spans for {clip.name}; expected one statement per clip; check the file")
    return labels_from_spans(spans[number - 1], count_frames(clip), f"{script}, clip {number}")


def _masks(clip: Path) -> MaskSource | None:
    folder = clip.with_name(f"{clip.name}_gt")
    return check_mask_count(MaskSource(path=folder), clip) if is_frame_folder(folder) else None


def _labels(clip: Path, masks: MaskSource | None) -> np.ndarray | None:
    if masks is None:
        return None
    with open_masks(masks) as opened:
        return frame_labels(opened)
