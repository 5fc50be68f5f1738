"""MVTec LOCO AD: logical and structural anomalies, a validation set, and a folder of masks per image."""

from __future__ import annotations

from offnormal.data.layouts.split_tree import SplitTreeLayout


class MvtecLocoLayout(SplitTreeLayout):
    """`train/good`, `validation/good`, `test/<kind>/NNN.png`, and `ground_truth/<kind>/NNN/*.png`.

    The masks of an image are merged: a pixel that any of them marks is anomalous. The validation images set the
    threshold. The metric of the paper for regions that may be marked in one of several places is not computed.
    """

    name = "mvtec_loco"
    tree = (
        "CATEGORY/train/good/*.png  CATEGORY/validation/good/*.png  "
        "CATEGORY/test/<good|logical_anomalies|structural_anomalies>/NNN.png  [CATEGORY/ground_truth/<kind>/NNN/*.png]"
    )
    source = "MVTec LOCO AD, https://www.mvtec.com/company/research/datasets/mvtec-loco"
    license = "CC BY-NC-SA 4.0"
    markers = tuple(
        (folder, kind) for folder in ("test", "ground_truth") for kind in ("logical_anomalies", "structural_anomalies")
    )
