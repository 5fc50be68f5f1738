"""A small inspection dataset of synthetic images, for a first look at the program.

The part is modeled as a surface (`part`), damaged (`damage`), lit, and photographed (`station`); `render` draws one
image and `tree` writes the set.
"""

from __future__ import annotations

from offnormal.demo.tree import generate

__all__ = ["generate"]
