"""UCF Sports Action as published: one folder for each of 13 actions, with one folder per clip."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.class_split import ClassChoice
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout
from offnormal.data.layouts.class_folders import class_clips, classes_of, split_dataset
from offnormal.data.layouts.labeled import subfolders
from offnormal.types import Item

# lowercase folder name -> class: views of one action are one class
_CLASSES = {
    "diving-side": "Diving-Side",
    "golf-swing": "Golf-Swing",  # in copies with merged folders
    "golf-swing-back": "Golf-Swing",
    "golf-swing-front": "Golf-Swing",
    "golf-swing-side": "Golf-Swing",
    "kicking": "Kicking",
    "kicking-front": "Kicking",
    "kicking-side": "Kicking",
    "lifting": "Lifting",
    "riding-horse": "Riding-Horse",
    "run-side": "Run-Side",
    "skateboarding-front": "SkateBoarding-Front",
    "swing-bench": "Swing-Bench",
    "swing-sideangle": "Swing-SideAngle",
    "walk-front": "Walk-Front",
}
_ANOMALOUS = ("Walk-Front", "SkateBoarding-Front", "Lifting")
_NORMAL = ("Run-Side", "Swing-SideAngle", "Swing-Bench", "Riding-Horse", "Golf-Swing", "Diving-Side", "Kicking")
_MIN_FOLDERS = 2  # folders with these names that identify the layout


class UcfSportsLayout(SingleCategoryLayout):
    """`Kicking-Front/001/*.avi`; frames in `jpeg/` and boxes in `gt/` next to it are ignored.

    If the video of a clip is missing, its frames are used. The folder of a clip is its original. By default seven
    classes are normal, and Walk-Front, SkateBoarding-Front, and Lifting are anomalous.
    """

    tree = "[ucf action/]Diving-Side/001/*.avi, Golf-Swing-Back/001/*.avi, ...; jpeg/ and gt/ next to the videos"
    source = "UCF Sports Action, https://www.crcv.ucf.edu/data/UCF_Sports_Action.php"
    license = "for research; cite Rodriguez et al. 2008 and Soomro and Zamir 2014"
    default_classes: ClassChoice | None = ClassChoice(normal=_NORMAL, anomalous=_ANOMALOUS)

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether at least two folders, also at a deeper level, have names of its actions."""
        return _find_root(root) is not None

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Return every clip with its class (views of an action are merged); DataError if there is none."""
        return class_clips(_find_root(root) or root, class_of)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset with the default classes, split 50/40/10; DataError if clips are missing."""
        clips = UcfSportsLayout.clips(root)
        classes = ClassChoice().complete(classes_of(clips), UcfSportsLayout.default_classes)
        return split_dataset(root, clips, classes, layout="ucf_sports")


def class_of(folder: str) -> str:
    """Return the class of a folder name; the name itself if UCF Sports has no such folder.

    >>> class_of("Kicking-Front"), class_of("run-side"), class_of("Juggling")
    ('Kicking', 'Run-Side', 'Juggling')
    """
    return _CLASSES.get(folder.casefold(), folder)


def _find_root(root: Path) -> Path | None:
    """Return the folder that contains the actions: this one, or below single subfolders; None: no actions."""
    folders = subfolders(root)
    if sum(folder.name.casefold() in _CLASSES for folder in folders) >= _MIN_FOLDERS:
        return root
    return _find_root(folders[0]) if len(folders) == 1 else None
