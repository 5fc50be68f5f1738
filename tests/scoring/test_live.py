"""Live scores: the same as offline where nothing is lost, and in order with the gaps where something is."""

import itertools

import numpy as np
import pytest
import torch

from offnormal.data.live_windows import LiveBatches, LiveWindows
from offnormal.data.video_loader import VideoLoader
from offnormal.detectors.base import Detector, DetectorOptions, StatefulDetector
from offnormal.scoring import LiveScorer, Scorer, score_items
from offnormal.sources.camera import Camera
from offnormal.types import Frame, Gap, InputSpec, Output, Unit
from tests.items import video
from tests.video_files import write_video

SIZE = (16, 24)
GAP = Gap(reason="stalled: for a test", arrived_s=0.0, utc_s=0.0)


class Change(Detector):
    """The score of a target is how much it differs from the mean of its clip."""

    name, is_fitted, pools_map = "change", True, True

    def forward(self, x):
        clip = x if x.ndim == 5 else x[:, :, None]
        difference = (clip - clip.mean(2, keepdim=True)).abs().mean(1)  # (N, T, H, W)
        shown = difference[:, list(self.input.targets)] if x.ndim == 5 else clip.mean(1)
        return Output(score=shown.mean((2, 3)), map=shown, terms={"highest": shown.amax((2, 3))})


class Learner(StatefulDetector):
    """The score is the distance from a running mean of the brightness, which is the state."""

    name, is_fitted, updates_online, pools_map = "learner", True, True, False

    def forward(self, x):
        return self.step(x, self.initial_state())[0]

    def initial_state(self):
        return torch.zeros(1)

    def step(self, x, state):
        mean = x.flatten(1).mean(1, keepdim=True)
        return Output(score=(mean - state).abs(), map=None), 0.8 * state + 0.2 * mean


SPECS = {
    "picture": InputSpec(size=SIZE),
    "prediction": InputSpec(size=SIZE, frames=5),
    "overlapping": InputSpec(size=SIZE, frames=6, hop=3, targets=tuple(range(6))),
    "clock": InputSpec(size=SIZE, frames=2, fps=2.5),
}


def film(path, seed, count=41):
    rng = np.random.default_rng(seed)
    return write_video(path, [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(count)], fps=10)


def run_live(detector, paths, *, batch_size, hold=False):
    """Every file as a camera of its own, all scored together; what came of each."""
    spec = detector.input
    batches = LiveBatches(batch_size=batch_size, wait_s=0, room=100, sources=len(paths))
    live, found = LiveScorer(Scorer(detector), hold=hold), {path.name: [] for path in paths}
    windows = {path.name: LiveWindows(spec) for path in paths}
    cameras = [Camera(path.name, str(path)) for path in paths]
    for items in itertools.zip_longest(*cameras):
        for camera, item in zip(cameras, items, strict=True):
            if item is not None:
                live.see(camera.name, item)
                for clip in windows[camera.name].push(item):
                    batches.put(camera.name, clip)
        if len(batches_now := batches.take(0)) > 0:
            for source, one in live.score(batches_now):
                found[source].append(one)
    while batches_now := batches.take(0):
        for source, one in live.score(batches_now):
            found[source].append(one)
    for name, scored in found.items():
        scored.extend(live.end(name))
    return found


@pytest.mark.parametrize("kind", list(SPECS))
@pytest.mark.parametrize("made", [Change, Learner])
def test_files_watched_together_score_as_each_does_offline(tmp_path, kind, made):
    spec = SPECS[kind]
    if made is Learner and len(spec.targets) > 1:
        pytest.skip("one score a clip")
    detector = made(DetectorOptions(), spec)
    paths = [film(tmp_path / f"{seed}.mp4", seed, count) for seed, count in ((1, 41), (2, 30), (3, 4))]
    live = run_live(detector, paths, batch_size=4)
    videos = [video(path, name=path.name) for path in paths]
    for offline in score_items(Scorer(detector), VideoLoader(videos, spec, batch_size=7), unit=Unit.FRAME):
        found = live[offline.item.name]
        assert [one.frame.index for one in found] == list(range(len(offline.score)))
        np.testing.assert_allclose([one.score for one in found], offline.score, rtol=1e-5)


def test_gaps_come_back_where_they_were_and_tear_windows():
    detector = Change(DetectorOptions(), SPECS["prediction"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=3, wait_s=0, room=100)
    live = LiveScorer(Scorer(detector))
    numbers = [0, 1, 2, 3, 4, 5, None, 7, 8, None, 10, 11, 12, 13, 14, 15, None]
    rng = np.random.default_rng(0)
    found = []
    for number in numbers:
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        item = GAP if number is None else Frame(number, number / 10, image, 0.0, 0.0)
        live.see("a", item)
        for ready in [*windows.push(item), *([item] if item is GAP else [])]:
            batches.put("a", ready)
        found += [one for _, one in live.score(batches.take(0))]
    told = [None if one is GAP else one.frame.index for one in found]
    assert told == numbers
    scored = [one.frame.index for one in found if one is not GAP and not np.isnan(one.score)]
    assert scored == [4, 5, 14, 15]
    assert not any(one.held for one in found if one is not GAP)


class Broken(Change):
    """Cannot score what begins with a white picture."""

    def forward(self, x):
        if (x[:, :, 0] if x.ndim == 5 else x).mean((1, 2, 3)).max() > 0.99:
            raise RuntimeError("out of memory")
        return super().forward(x)


def test_a_batch_that_cannot_be_scored_changes_nothing_and_can_be_passed_over():
    """A gap, frames before it and after it: each comes back once and in order, those of the clip without a score."""
    detector = Broken(DetectorOptions(), SPECS["prediction"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=9, wait_s=0, room=100)
    live = LiveScorer(Scorer(detector))
    numbers = [0, 1, 2, None, 4, 5, 6, 7, 8, 9]
    for number in numbers:
        bright = 255 if number == 4 else 60 + (number or 0)
        item = GAP if number is None else Frame(number, number / 10, np.full((*SIZE, 3), bright, np.uint8), 0.0, 0.0)
        live.see("a", item)
        for ready in [*windows.push(item), *([item] if item is GAP else [])]:
            batches.put("a", ready)
    batch = batches.take(0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            list(live.score(batch))
    found = [one for _, one in live.pass_over(batch)]
    assert [None if one is GAP else one.frame.index for one in found] == numbers
    assert all(one is GAP or np.isnan(one.score) for one in found)
    assert list(live.end("a")) == []


class Faltering(Learner):
    """Fails at a white picture, once those before it were learned from."""

    def step(self, x, state):
        if x.max() > 0.99:
            raise RuntimeError("out of memory")
        return super().step(x, state)


def test_a_batch_that_fails_half_way_is_learned_from_by_nobody():
    """Two pictures of one camera, of which the second fails, and one of another that is scored alone afterwards."""
    pixels = torch.tensor([0.2, 0.6, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, *SIZE)
    scorer = Scorer(Faltering(DetectorOptions(), InputSpec(size=SIZE)))
    with pytest.raises(RuntimeError, match="out of memory"):
        scorer.score_streams(pixels, ["a", "b", "a"])
    alone = [float(scorer.score_streams(pixels[row : row + 1], [name]).score[0]) for row, name in ((0, "a"), (1, "b"))]
    assert alone == pytest.approx([0.2, 0.6])
    assert float(scorer.score_streams(pixels[:1], ["a"]).score[0]) == pytest.approx(0.2 - 0.2 * 0.2)


def test_windows_that_were_dropped_leave_frames_without_scores():
    detector = Change(DetectorOptions(), SPECS["picture"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=3, wait_s=0, room=1)
    live = LiveScorer(Scorer(detector))
    for number in range(5):
        item = Frame(number, number / 10, np.full((*SIZE, 3), 50, np.uint8), 0.0, 0.0)
        live.see("a", item)
        for clip in windows.push(item):
            batches.put("a", clip)
    found = [one for _, one in live.score(batches.take(0))] + list(live.end("a"))
    assert [one.frame.index for one in found] == [0, 1, 2, 3, 4]
    assert [np.isnan(one.score) for one in found] == [True, True, True, True, False]
