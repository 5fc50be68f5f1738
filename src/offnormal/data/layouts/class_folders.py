"""Class folders of clips: each shows what its folder is called; which classes are normal is for the user to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from offnormal.data.class_split import ClassChoice, Split, split_clips
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import OneDataset
from offnormal.data.layouts.clips import names_below
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder, videos_below, videos_in
from offnormal.types import Item

# what follows the name of an original in those of its copies: `kick_aug3`, `kick-flipped`, `kick (2)`, `kick - copy`
_COPY = re.compile(
    r"([ ._-]+(aug|augm|augmented|copy|flip|flipped|mirror|mirrored)[ ._-]*\d*| ?\(\d+\))$", re.IGNORECASE
)
_SAME_SOURCE = re.compile(r"(v_.+_g\d+)_c\d+", re.IGNORECASE)  # of UCF-50 and UCF-101: a group is cut from one video


class ClassFoldersLayout(OneDataset):
    """A folder for each class of activity, with video files or folders of frames in it, also one folder a clip.

    Files belong to one original when they lie in the same folder inside that of their class, or when their names differ
    only by an ending such as `_aug3`, `_flipped` or ` (2)`, by their suffix, or by the `_cNN` of UCF-101.
    """

    tree = "CLASS/*.mp4 or CLASS/CLIP/*.avi; --normal-class A (repeatable), or --anomalous-class C"
    source = "your own clips; UCF-101, https://www.crcv.ucf.edu/data/UCF101.php, and others in its form"
    license = "yours"
    default: ClassChoice | None = None

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Never by itself: folders of videos may also be cameras. Naming classes chooses it."""
        return False

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Every clip with its class and its original; DataError where there is none, or one of no class."""
        return class_clips(root)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """DataError: it takes the classes that are normal."""
        clips = class_clips(root)
        return divided(root, clips, ClassChoice().among(classes_of(clips)), layout="class_folders")


def class_clips(root: Path, class_of: Callable[[str], str] = str) -> tuple[Item, ...]:
    """The clips of a folder of class folders; class_of: name of a folder -> class.

    Raises DataError for videos beside the folders, and where there is no clip at all.
    """
    if loose := videos_in(root):
        raise DataError(f"{loose[0]} lies in {root} itself, of no class: sort it into the folder of one")
    found = [
        (clip, f"{folder.name}/{original}", class_of(folder.name))
        for folder in subfolders(root)
        for clip, original in _originals(folder)
    ]
    if not found:
        raise DataError(f"{root}: no clip in it; expected a folder for each class with videos, such as Run/001.mp4")
    names = names_below(root, [clip for clip, _, _ in found])
    return tuple(
        Item(address=str(clip), name=names[clip], is_video=True, group=original, class_name=class_name)
        for clip, original, class_name in found
    )


def clips_of_class(folder: Path, action: str | None) -> tuple[Item, ...]:
    """The clips of a single class folder; None: of a class that is not known."""
    return tuple(
        Item(
            address=str(clip),
            is_video=True,
            name=clip.relative_to(folder).as_posix(),
            group=f"{folder.name}/{original}",
            class_name=action,
        )
        for clip, original in _originals(folder)
    )


def is_class_folders(root: Path) -> bool:
    """Whether there are folders with clips inside."""
    return bool(_holding(root))


def classes_of(clips: tuple[Item, ...]) -> list[str]:
    """Names of the classes, each once, in the order of their first clips."""
    return list(dict.fromkeys(clip.class_name for clip in clips if clip.class_name is not None))


def divided(
    root: Path, clips: tuple[Item, ...], classes: ClassChoice, *, layout: str, group_by: str | None = None
) -> Dataset:
    """The dataset of clips that are divided anew among complete classes; errors as of `split_clips`."""
    return with_split(root, clips, split_clips(clips, classes, layout=layout, group_by=group_by))


def with_split(root: Path, clips: tuple[Item, ...], split: Split) -> Dataset:
    """The dataset of clips as a split divides them."""
    splits = split.of(clips)
    return Dataset(
        name=root.resolve().name,
        layout=split.layout,
        root=root,
        train=splits["train"],
        calibration=splits["calibration"],
        test=splits["test"] + splits["anomalous"],
        split=split,
    )


def _original_of(stem: str) -> str:
    """The name of the original that a clip was cut or copied from.

    >>> [_original_of(name) for name in ("kick_aug12", "kick-flipped_aug3", "kick (2)", "v_Kick_g07_c03", "kick_12")]
    ['kick', 'kick', 'kick', 'v_Kick_g07', 'kick_12']
    """
    while (shorter := _COPY.sub("", stem)) and shorter != stem:
        stem = shorter
    source = _SAME_SOURCE.fullmatch(stem)
    return source[1] if source else stem


def _originals(folder: Path) -> Iterator[tuple[Path, str]]:
    """Clips of a class folder with the name of their original, below that folder."""
    place = folder
    while not videos_in(place) and not is_frame_folder(place) and len(inside := _holding(place)) == 1:
        place = inside[0]
    if is_frame_folder(place):
        yield place, _original_of(place.name)
    beside = videos_in(place)
    for clip in beside:
        yield clip, _original_of(clip.stem)
    for inner in _holding(place):
        videos = videos_in(inner, recursive=True)
        for clip in videos or ([] if beside else videos_below(inner) or [inner]):  # pictures beside a video are of it
            yield clip, _original_of(inner.name)


def _holding(place: Path) -> list[Path]:
    """Folders inside that hold videos or pictures, also further down."""
    return [inner for inner in subfolders(place) if is_frame_folder(inner) or videos_below(inner)]
