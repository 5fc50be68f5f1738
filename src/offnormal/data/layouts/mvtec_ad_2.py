"""MVTec AD 2: a public test set with its masks inside, a validation set, and private test sets without labels."""

from __future__ import annotations

from offnormal.data.layouts.split_tree import SplitTreeLayout


class MvtecAd2Layout(SplitTreeLayout):
    """`train/good`, `validation/good`, `test_public/{good,bad}` with `test_public/ground_truth/bad/*_mask.png`.

    The validation images set the threshold. The private test sets have no published labels: they are not evaluated, and
    `offnormal predict` scores them.
    """

    name = "mvtec_ad_2"
    tree = (
        "CATEGORY/train/good/*.png  CATEGORY/validation/good/*.png  CATEGORY/test_public/<good|bad>/*.png  "
        "[CATEGORY/test_public/ground_truth/bad/*_mask.png]  [CATEGORY/test_private*/*.png, for predict]"
    )
    source = "MVTec AD 2, https://www.mvtec.com/company/research/datasets/mvtec-ad-2"
    license = "CC BY-NC-SA 4.0"
    test = "test_public"
    markers = (("test_public", "good"), ("test_public", "bad"), ("test_private",), ("test_private_mixed",))
