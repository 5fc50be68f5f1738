"""Items and samples made from a path alone."""

from pathlib import Path

from offnormal.types import Item, MaskSource, Sample


def image(path, *, mask=None, **fields):
    """An image with its path as name."""
    masks = None if mask is None else MaskSource(path=mask)
    return Item(**{"address": str(path), "name": str(path), "masks": masks, **fields})


def video(path, **fields):
    """A video with the name of its file."""
    return Item(**{"address": str(path), "name": Path(path).stem, "is_video": True, **fields})


def sample(path="x", *, label=None, group=None, frame=None, **fields):
    """What is known of one row of a batch."""
    item = image(path, label=label, group=group, is_video=frame is not None, **fields)
    return Sample(item=item, label=label, group=group, frame=frame)
