"""UCF Sports Action as published: a folder for each of 13 actions, and in it one for every clip."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.class_split import ClassChoice
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import OneDataset
from offnormal.data.layouts.class_folders import class_clips, classes_of, divided
from offnormal.data.layouts.labeled import subfolders
from offnormal.types import Item

# folder, whatever its case -> class: views of one action are one class
_CLASSES = {
    "diving-side": "Diving-Side",
    "golf-swing": "Golf-Swing",  # where somebody has merged them already
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
_LEAST = 2  # folders of these names by which it is known


class UcfSportsLayout(OneDataset):
    """`Kicking-Front/001/*.avi`, with the frames beside it in `jpeg/` and boxes in `gt/`, which are passed over.

    Where a clip's video is missing, its frames are read. A clip's folder is its original. Seven classes are normal and
    Walk-Front, SkateBoarding-Front and Lifting anomalous unless others are named.
    """

    tree = "[ucf action/]Diving-Side/001/*.avi, Golf-Swing-Back/001/*.avi, ...; jpeg/ and gt/ beside the videos"
    source = "UCF Sports Action, https://www.crcv.ucf.edu/data/UCF_Sports_Action.php"
    license = "for research; cite Rodriguez et al. 2008 and Soomro and Zamir 2014"
    default: ClassChoice | None = ClassChoice(normal=_NORMAL, anomalous=_ANOMALOUS)

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether at least two of the folders have names of its actions, also one folder down."""
        return _place(root) is not None

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Every clip with its class, the views of one action merged; DataError where there is none."""
        return class_clips(_place(root) or root, class_of)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset with the default classes, divided 50/40/10; DataError where clips are missing."""
        clips = UcfSportsLayout.clips(root)
        classes = ClassChoice().among(classes_of(clips), UcfSportsLayout.default)
        return divided(root, clips, classes, layout="ucf_sports")


def class_of(folder: str) -> str:
    """The class that a folder's name stands for; of one that the set does not know the name itself.

    >>> class_of("Kicking-Front"), class_of("run-side"), class_of("Juggling")
    ('Kicking', 'Run-Side', 'Juggling')
    """
    return _CLASSES.get(folder.casefold(), folder)


def _place(root: Path) -> Path | None:
    """The folder that the actions lie in: this one or the only one inside; None where there are none."""
    inside = subfolders(root)
    if sum(folder.name.casefold() in _CLASSES for folder in inside) >= _LEAST:
        return root
    return _place(inside[0]) if len(inside) == 1 else None
