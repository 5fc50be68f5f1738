"""Datasets, their layouts on disk, and the way from a file to a batch of pixels."""
