import numpy as np
import pytest
import torch
from PIL import Image

from offnormal.data import video_reading
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import VideoLoader
from offnormal.metrics.video import LOST
from offnormal.scoring import Scorer, score_items, was_skipped
from offnormal.scoring.alignment import EARLY, GAP, NEVER
from offnormal.types import InputSpec, Output, Unit
from tests.data.memory_videos import SIZE, VideoStore
from tests.items import image


class Brightness(torch.nn.Module):
    """Scores each target by its value, 0-255; a whole clip by the mean of its values."""

    def __init__(self, spec):
        super().__init__()
        self.input = spec
        self.calls = 0

    def require_fitted(self):
        pass

    def forward(self, x):
        self.calls += 1
        frames = x[:, 0] if x.ndim == 5 else x[:, :1, 0]  # (N, T, H, W)
        frames = frames.flatten(2).mean(2) * 255 if x.ndim == 5 else x[:, 0].flatten(1).mean(1, keepdim=True) * 255
        targets = list(self.input.targets)
        score = frames[:, targets] if targets else frames.mean(1, keepdim=True)
        maps = score[:, :, None, None].expand(-1, -1, *SIZE) if targets else None
        return Output(score=score, map=maps, terms={"twice": score * 2})


@pytest.fixture
def store(tmp_path, monkeypatch):
    store = VideoStore(tmp_path)
    monkeypatch.setattr(video_reading, "open_video", store.open_video)
    return store


def spec(**more):
    return InputSpec(size=SIZE, **{"frames": 3, **more})


def scored(videos, spec, batch_size=4, loader=None, **more):
    loading = {"batch_size": batch_size, "on_error": "skip", **(loader or {})}
    scorer, video_loader = Scorer(Brightness(spec)), VideoLoader(videos, spec, **loading)
    return list(score_items(scorer, video_loader, unit=spec.unit(is_video=True), **more))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_frame_has_a_score_or_a_reason_for_every_batch_size(store, batch_size):
    videos = [
        store.add("a", lost=(6,)),
        store.add("b", count=2, base=50),
        store.add("c", unreadable=True),
        store.add("d", count=4, base=90),
    ]
    results = scored(videos, spec(), batch_size)
    assert [result.item.name for result in results] == ["a", "b", "d"]
    a, b, d = results
    np.testing.assert_allclose(a.score, [np.nan, np.nan, 2, 3, 4, 5, np.nan, np.nan, np.nan, 9], atol=1e-4)
    assert [tuple(span) for span in a.not_scored] == [(0, 2, EARLY), (6, 7, LOST), (7, 9, GAP)]
    assert [tuple(span) for span in b.not_scored] == [(0, 2, NEVER)]
    np.testing.assert_allclose(d.score[2:], [92, 93], atol=1e-4)
    np.testing.assert_allclose(d.terms["twice"], d.score * 2, atol=1e-4)


def test_several_targets_and_whole_clips_cover_more_frames(store):
    video = store.add("a", count=5)
    (result,) = scored([video], spec(targets=(0, 1, 2)))
    np.testing.assert_allclose(result.score, range(5), atol=1e-4)
    (result,) = scored([video], spec(targets=()))
    np.testing.assert_allclose(result.score, [1, 1.5, 2, 2.5, 3], atol=1e-4)


def test_single_frames_of_a_video_and_held_scores(store):
    video = store.add("a", count=5)
    (result,) = scored([video], InputSpec(size=SIZE))
    np.testing.assert_allclose(result.score, range(5), atol=1e-4)
    (result,) = scored([video], InputSpec(size=SIZE, hop=2), hold=True)
    np.testing.assert_allclose(result.score, [0, 0, 2, 2, 4], atol=1e-4)
    assert len(result.not_scored) == 2
    (result,) = scored([store.add("b", count=50)], InputSpec(size=SIZE), loader={"every_s": 1.0})
    assert [tuple(span) for span in result.not_scored] == [
        (1, 25, "between windows"),
        (26, 50, "after the last window"),
    ]


def test_a_video_is_yielded_before_the_next_ones_are_read_completely(store):
    videos = [store.add(name, count=400) for name in "ab"]
    detector = Brightness(spec())
    results = score_items(Scorer(detector), VideoLoader(videos, spec(), batch_size=4), unit=Unit.FRAME)
    assert next(results).item.name == "a"
    assert detector.calls <= 101
    results.close()


def test_on_batch_gets_every_batch_with_its_maps(store):
    batches = []
    scored(
        [store.add("a")],
        spec(),
        on_batch=lambda result: batches.append((len(result.samples), result.scores.map.shape)),
    )
    assert batches == [(4, (4, *SIZE)), (4, (4, *SIZE))]


def test_a_clip_as_a_whole_has_one_row(store):
    videos = [store.add("a", count=5), store.add("b", count=3, base=40)]
    results = scored(videos, spec(targets=(), sampling="uniform"))
    assert [result.item.name for result in results] == ["a", "b"]
    np.testing.assert_allclose([result.score for result in results], [[2], [41]], atol=1e-4)
    assert all(result.video is None and result.terms["twice"].shape == (1,) for result in results)


def test_an_image_has_one_row_with_its_map(tmp_path):
    items = [image(tmp_path / f"{value}.png") for value in (10, 20, 30)]
    for item, value in zip(items, (10, 20, 30), strict=True):
        Image.new("RGB", (SIZE[1], SIZE[0]), (value,) * 3).save(item.path)
    items[1].path.write_bytes(b"no image")
    loader = ImageLoader(items, InputSpec(size=SIZE), batch_size=2, on_error="skip")
    results = list(score_items(Scorer(Brightness(InputSpec(size=SIZE))), loader, unit=Unit.IMAGE))
    assert [result.item.path.name for result in results] == ["10.png", "30.png"]
    np.testing.assert_allclose([result.score for result in results], [[10], [30]], atol=1e-4)
    np.testing.assert_allclose(results[1].map, np.full(SIZE, 30), atol=1e-4)
    assert [was_skipped(item, loader.skipped) for item in items] == [False, True, False]
