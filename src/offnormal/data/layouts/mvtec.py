"""MVTec AD and datasets in its format (converted VisA, magnetic tiles, your own)."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.layouts.mpdd import MpddLayout
from offnormal.data.layouts.mvtec_ad_2 import MvtecAd2Layout
from offnormal.data.layouts.mvtec_loco import MvtecLocoLayout
from offnormal.data.layouts.split_tree import SplitTreeLayout


class MvtecLayout(SplitTreeLayout):
    """`train/good`, `test/<defect>`, `ground_truth/<defect>/NNN_mask.png`; one category or a folder of categories."""

    name = "mvtec"
    tree = "CATEGORY/train/good/*.png  CATEGORY/test/<good|defect>/*.png  [CATEGORY/ground_truth/<defect>/*_mask.png]"
    source = "MVTec AD, https://www.mvtec.com/company/research/datasets/mvtec-ad, or your own parts in the same tree"
    license = "CC BY-NC-SA 4.0 (MVTec AD)"
    markers = (("train", "good"), ("test", "good"))

    @classmethod
    def recognizes(cls, root: Path) -> bool:
        """Whether `train/good` or `test/good` exists, also in subfolders, and no layout made from this one fits."""
        variants = (MvtecAd2Layout, MvtecLocoLayout, MpddLayout)
        return super().recognizes(root) and not any(variant.recognizes(root) for variant in variants)
