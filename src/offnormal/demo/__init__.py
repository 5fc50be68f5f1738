"""A small inspection dataset of synthetic pictures, for a first look at the program.

The part is modeled as a surface (`part`), damaged (`damage`), lit, and photographed (`station`); `render` draws one
picture and `tree` writes the set.
"""

from __future__ import annotations

from offnormal.demo.tree import generate

__all__ = ["generate"]
