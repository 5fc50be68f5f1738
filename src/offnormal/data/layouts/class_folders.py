"""Class folders of clips: the folder name is the class of its clips; the user chooses the normal classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from offnormal.data.class_split import ClassChoice, Split, split_clips
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout
from offnormal.data.layouts.clips import relative_names
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder, videos_below, videos_in
from offnormal.types import Item

# suffixes that copies add to the name of their original: `kick_aug3`, `kick-flipped`, `kick (2)`, `kick - copy`
_COPY = re.compile(
    r"([ ._-]+(aug|augm|augmented|copy|flip|flipped|mirror|mirrored)[ ._-]*\d*| ?\(\d+\))$", re.IGNORECASE
)
_SAME_SOURCE = re.compile(r"(v_.+_g\d+)_c\d+", re.IGNORECASE)  # UCF-50 and UCF-101: a group is cut from one video


class ClassFoldersLayout(SingleCategoryLayout):
    """One folder per activity class with video files or folders of frames, or with one folder per clip.

    Files belong to one original if they are in the same subfolder of their class, or if their names differ only by an
    ending such as `_aug3`, `_flipped`, or ` (2)`, by their suffix, or by the `_cNN` of UCF-101.
    """

    tree = "CLASS/*.mp4 or CLASS/CLIP/*.avi; --normal-class A (repeatable), or --anomalous-class C"
    source = "your own clips; UCF-101, https://www.crcv.ucf.edu/data/UCF101.php, and others in its format"
    license = "yours"
    default_classes: ClassChoice | None = None

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Return False: folders of videos may also be cameras. Named classes choose this layout."""
        return False

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Return every clip with its class and its original; DataError if there is none, or one without a class."""
        return class_clips(root)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Raise DataError: the normal classes must be named."""
        clips = class_clips(root)
        return split_dataset(root, clips, ClassChoice().complete(classes_of(clips)), layout="class_folders")


def class_clips(root: Path, class_of: Callable[[str], str] = str) -> tuple[Item, ...]:
    """Return the clips of a folder of class folders; class_of: folder name -> class.

    Raises DataError for videos next to the folders, and if there is no clip.
    """
    if loose := videos_in(root):
        raise DataError(f"{loose[0]}: a video without a class; expected it in a class folder of {root}; move it there")
    clips = [
        (clip, f"{folder.name}/{original}", class_of(folder.name))
        for folder in subfolders(root)
        for clip, original in _originals(folder)
    ]
    if not clips:
        raise DataError(f"{root}: no clips; expected one folder of videos per class, such as Run/001.mp4")
    names = relative_names(root, [clip for clip, _, _ in clips])
    return tuple(
        Item(address=str(clip), name=names[clip], is_video=True, group=original, class_name=class_name)
        for clip, original, class_name in clips
    )


def clips_of_class(folder: Path, class_name: str | None) -> tuple[Item, ...]:
    """Return the clips of a single class folder; class_name None: unknown."""
    return tuple(
        Item(
            address=str(clip),
            is_video=True,
            name=clip.relative_to(folder).as_posix(),
            group=f"{folder.name}/{original}",
            class_name=class_name,
        )
        for clip, original in _originals(folder)
    )


def is_class_folders(root: Path) -> bool:
    """Whether there are subfolders with clips."""
    return bool(_folders_with_clips(root))


def classes_of(clips: tuple[Item, ...]) -> list[str]:
    """Return the class names, each once, in the order of their first clips."""
    return list(dict.fromkeys(clip.class_name for clip in clips if clip.class_name is not None))


def split_dataset(
    root: Path, clips: tuple[Item, ...], classes: ClassChoice, *, layout: str, group_by: str | None = None
) -> Dataset:
    """Return the dataset with a new split of the clips; errors as in `split_clips`. classes: complete."""
    return apply_split(root, clips, split_clips(clips, classes, layout=layout, group_by=group_by))


def apply_split(root: Path, clips: tuple[Item, ...], split: Split) -> Dataset:
    """Return the dataset with an existing split of the clips."""
    splits = split.assign(clips)
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
    """Return the name of the original that a clip was cut or copied from.

    >>> [_original_of(name) for name in ("kick_aug12", "kick-flipped_aug3", "kick (2)", "v_Kick_g07_c03", "kick_12")]
    ['kick', 'kick', 'kick', 'v_Kick_g07', 'kick_12']
    """
    while (shorter := _COPY.sub("", stem)) and shorter != stem:
        stem = shorter
    source = _SAME_SOURCE.fullmatch(stem)
    return source[1] if source else stem


def _originals(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the clips of a class folder with the names of their originals."""
    while not videos_in(folder) and not is_frame_folder(folder) and len(inner := _folders_with_clips(folder)) == 1:
        folder = inner[0]
    if is_frame_folder(folder):
        yield folder, _original_of(folder.name)
    direct = videos_in(folder)
    for clip in direct:
        yield clip, _original_of(clip.stem)
    for subfolder in _folders_with_clips(folder):
        videos = videos_in(subfolder, recursive=True)
        for clip in videos or ([] if direct else videos_below(subfolder) or [subfolder]):  # frames of a direct video
            yield clip, _original_of(subfolder.name)


def _folders_with_clips(folder: Path) -> list[Path]:
    """Return the subfolders that contain videos or frames at any depth."""
    return [inner for inner in subfolders(folder) if is_frame_folder(inner) or videos_below(inner)]
