"""Pretrained feature extractors behind one contract."""
