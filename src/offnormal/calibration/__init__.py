"""Thresholds from normal data for a stated false-alarm rate, and how rare a score is among normals."""
