"""A small inspection dataset of synthetic images, to try the program.

The part is modeled as a surface (`part`), damaged (`damage`), lit, and photographed (`station`); `render` draws one
image, and `tree` writes the dataset.
"""

from __future__ import annotations

from offnormal.demo.tree import generate

__all__ = ["generate"]
