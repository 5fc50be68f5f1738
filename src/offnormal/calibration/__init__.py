"""Thresholds for a stated false-alarm rate, and p-values, from the scores of normal data."""
