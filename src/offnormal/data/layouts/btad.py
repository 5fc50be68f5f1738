"""BTAD (beanTech): three products with `ok` and `ko` images."""

from __future__ import annotations

from offnormal.data.layouts.split_tree import SplitTreeLayout


class BtadLayout(SplitTreeLayout):
    """`train/ok`, `test/{ok,ko}`, and `ground_truth/ko`; one product, or a folder of products 01, 02, 03."""

    name = "btad"
    tree = "CATEGORY/train/ok/*.bmp  CATEGORY/test/<ok|ko>/*.bmp  [CATEGORY/ground_truth/ko/*.png]; .bmp or .png"
    source = "BTAD, https://avires.dimi.uniud.it/papers/btad/btad.zip"
    license = "CC BY-NC-SA 4.0"
    normal = "ok"
    markers = (("train", "ok"), ("test", "ok"), ("test", "ko"))
