"""A small inspection data set of synthetic pictures, for a first look at the program.

The part is modelled as a surface (`part`, `marking`), damaged (`scratch`, `hole`, `stain`, `missing`), lit
(`station`) and photographed (`camera`); `render` draws one picture and `tree` writes the set.
"""

from __future__ import annotations

from offnormal.demo.tree import generate

__all__ = ["generate"]
