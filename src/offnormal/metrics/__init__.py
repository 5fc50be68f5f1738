"""How good scores and decisions are: per image, per pixel and at a threshold; no torch in here."""
