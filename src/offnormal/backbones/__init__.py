"""Pretrained feature extractors with one interface."""
