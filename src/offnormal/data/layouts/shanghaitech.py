"""ShanghaiTech Campus as published: .avi training videos, test videos as frames, labels and masks as .npy."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import read_labels
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import check_mask_count, clip_folders, has_subfolder, video_items
from offnormal.errors import DataError
from offnormal.sources.paths import videos_in
from offnormal.types import Item, MaskSource

_LABELS, _MASKS = "test_frame_mask", "test_pixel_mask"


class ShanghaiTechLayout(SingleCategoryLayout):
    """`training/videos` (or `training/frames`), `testing/frames`, `test_frame_mask`, `test_pixel_mask`.

    If training videos exist both as .avi and as frames, the frames are used. Masks are read one frame at a time.
    """

    tree = (
        "training/<videos/01_001.avi|frames/01_001/000.jpg>  testing/frames/01_0014/000.jpg  "
        "testing/test_frame_mask/01_0014.npy  [testing/test_pixel_mask/01_0014.npy]"
    )
    source = "ShanghaiTech Campus, https://svip-lab.github.io/dataset/campus_dataset.html"
    license = "for research, see its page; cite Luo et al., ICCV 2017, and Liu et al., CVPR 2018"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder contains `training/videos`, or a folder of frame or pixel labels."""
        training, testing = root / "training", root / "testing"
        return (
            has_subfolder(root, _LABELS, _MASKS)
            or (testing.is_dir() and has_subfolder(testing, _LABELS, _MASKS))
            or (training.is_dir() and has_subfolder(training, "videos"))
        )

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or a label file is not as expected."""
        reject_category(category, "shanghaitech")
        if not ShanghaiTechLayout.recognizes(root):
            raise DataError(f"{root}: not the shanghaitech layout; expected {ShanghaiTechLayout.tree}")
        training, clips = root / "training", clip_folders(root / "testing" / "frames")
        files = training / "videos"
        labels, masks = (_folder(root, name) for name in (_LABELS, _MASKS))
        return Dataset(
            name=root.resolve().name,
            layout="shanghaitech",
            root=root,
            train=video_items(clip_folders(training / "frames") or (videos_in(files) if files.is_dir() else [])),
            test=tuple(_labeled(clip, labels, masks) for clip in clips),
        )


def _folder(root: Path, name: str) -> Path | None:
    candidates = (root / "testing" / name, root / name)
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def _labeled(clip: Path, labels: Path | None, masks: Path | None) -> Item:
    source = masks / f"{clip.name}.npy" if masks is not None else None
    return Item(
        address=str(clip),
        is_video=True,
        name=clip.name,
        frame_labels=read_labels(labels / f"{clip.name}.npy", clip) if labels is not None else None,
        masks=check_mask_count(MaskSource(path=source), clip) if source is not None and source.is_file() else None,
    )
