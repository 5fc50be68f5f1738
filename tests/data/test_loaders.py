import numpy as np
import pytest
from PIL import Image

from offnormal.data.image_loader import ImageLoader
from offnormal.data.loaders import open_loader
from offnormal.data.video_loader import VideoLoader, VideoOptions
from offnormal.errors import ImageError, VideoError
from offnormal.types import InputSpec
from tests.footage import film
from tests.items import image, video
from tests.video_files import write_video

SPEC = InputSpec(size=(8, 12))


def test_items_come_from_a_loader_of_their_kind_with_the_options_of_that_kind(tmp_path):
    Image.new("L", (12, 8), 255).save(tmp_path / "a.png")
    write_video(tmp_path / "a.mp4", film(0, frames=10), fps=10)
    options = VideoOptions(every_s=0.5)
    images = open_loader([image(tmp_path / "a.png", group="lot")], SPEC, batch_size=4, videos=options, masks=True)
    assert isinstance(images, ImageLoader)
    (batch,) = images
    assert (batch.pixels.dtype, batch.pixels.min(), batch.masks.any(), batch.frames) == (np.float32, 1, False, None)
    assert [(s.item.name, s.group, s.frame) for s in batch.samples] == [(str(tmp_path / "a.png"), "lot", None)]
    videos = open_loader([video(tmp_path / "a.mp4")], SPEC, batch_size=4, videos=options)
    assert isinstance(videos, VideoLoader)
    (batch,) = videos
    assert [(s.item.name, s.group, s.frame) for s in batch.samples] == [("a", "a", 0), ("a", "a", 5)]
    assert (images.every_s, videos.every_s) == (None, 0.5)
    assert ([end.video.name for end in videos.ended], images.ended) == (["a"], [])


@pytest.mark.parametrize(("item", "error"), [(image("gone.png"), ImageError), (video("gone.mp4"), VideoError)])
def test_bad_files_of_both_kinds_stop_or_are_listed(item, error):
    with pytest.raises(error, match=r"gone.*leave such (files|videos) out with --on-error skip"):
        list(open_loader([item], SPEC, batch_size=4))
    loader = open_loader([item], SPEC, batch_size=4, on_error="skip")
    assert list(loader) == []
    assert [bad.path for bad in loader.skipped] == [item.path]


def test_a_loader_over_other_items_starts_its_lists_anew():
    loader = open_loader([image("gone.png")], SPEC, batch_size=4, on_error="skip", progress=[].append)
    list(loader)
    other = loader.over([image("b.png", group="b"), image("c.png")])
    assert (len(other), other.skipped, other.groups(), other.progress) == (2, [], ["b"], loader.progress)
    assert len(loader.skipped) == 1
    assert [item.address for item in other.only({"b"}).items] == ["b.png"]
    assert other.silent().progress is None
