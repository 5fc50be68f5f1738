"""Live scores equal offline scores if nothing is lost; otherwise frames and gaps stay in order."""

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
        target_maps = difference[:, list(self.input.targets)] if x.ndim == 5 else clip.mean(1)
        return Output(score=target_maps.mean((2, 3)), map=target_maps, terms={"highest": target_maps.amax((2, 3))})


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
    "image": InputSpec(size=SIZE),
    "prediction": InputSpec(size=SIZE, frames=5),
    "overlapping": InputSpec(size=SIZE, frames=6, hop=3, targets=tuple(range(6))),
    "clock": InputSpec(size=SIZE, frames=2, fps=2.5),
}


def random_video(path, seed, count=41):
    rng = np.random.default_rng(seed)
    return write_video(path, [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(count)], fps=10)


def run_live(detector, paths, *, batch_size, hold=False):
    """Watch every file as a separate camera, score all together, and return the results of each."""
    spec = detector.input
    batches = LiveBatches(batch_size=batch_size, wait_s=0, capacity=100, sources=len(paths))
    live, results = LiveScorer(Scorer(detector), hold=hold), {path.name: [] for path in paths}
    windows = {path.name: LiveWindows(spec) for path in paths}
    cameras = [Camera(path.name, str(path)) for path in paths]
    for items in itertools.zip_longest(*cameras):
        for camera, item in zip(cameras, items, strict=True):
            if item is not None:
                live.add(camera.name, item)
                for clip in windows[camera.name].push(item):
                    batches.put(camera.name, clip)
        if len(batch := batches.take(0)) > 0:
            for source, result in live.score(batch):
                results[source].append(result)
    while batch := batches.take(0):
        for source, result in live.score(batch):
            results[source].append(result)
    for name, scored in results.items():
        scored.extend(live.finish(name))
    return results


@pytest.mark.parametrize("kind", list(SPECS))
@pytest.mark.parametrize("detector_class", [Change, Learner])
def test_files_watched_together_have_the_same_scores_as_offline(tmp_path, kind, detector_class):
    spec = SPECS[kind]
    if detector_class is Learner and len(spec.targets) > 1:
        pytest.skip("one score a clip")
    detector = detector_class(DetectorOptions(), spec)
    paths = [random_video(tmp_path / f"{seed}.mp4", seed, count) for seed, count in ((1, 41), (2, 30), (3, 4))]
    live = run_live(detector, paths, batch_size=4)
    videos = [video(path, name=path.name) for path in paths]
    for offline in score_items(Scorer(detector), VideoLoader(videos, spec, batch_size=7), unit=Unit.FRAME):
        results = live[offline.item.name]
        assert [result.frame.index for result in results] == list(range(len(offline.score)))
        np.testing.assert_allclose([result.score for result in results], offline.score, rtol=1e-5)


def test_gaps_keep_their_position_and_interrupt_windows():
    detector = Change(DetectorOptions(), SPECS["prediction"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=3, wait_s=0, capacity=100)
    live = LiveScorer(Scorer(detector))
    numbers = [0, 1, 2, 3, 4, 5, None, 7, 8, None, 10, 11, 12, 13, 14, 15, None]
    rng = np.random.default_rng(0)
    results = []
    for number in numbers:
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        item = GAP if number is None else Frame(number, number / 10, image, 0.0, 0.0)
        live.add("a", item)
        for ready in [*windows.push(item), *([item] if item is GAP else [])]:
            batches.put("a", ready)
        results += [result for _, result in live.score(batches.take(0))]
    order = [None if result is GAP else result.frame.index for result in results]
    assert order == numbers
    scored = [result.frame.index for result in results if result is not GAP and not np.isnan(result.score)]
    assert scored == [4, 5, 14, 15]
    assert not any(result.held for result in results if result is not GAP)


class Broken(Change):
    """Cannot score clips that start with a white image."""

    def forward(self, x):
        if (x[:, :, 0] if x.ndim == 5 else x).mean((1, 2, 3)).max() > 0.99:
            raise RuntimeError("out of memory")
        return super().forward(x)


def test_a_batch_that_cannot_be_scored_changes_nothing_and_can_be_skipped():
    """Gap and frames come back once and in order; frames of the failed clip have no score."""
    detector = Broken(DetectorOptions(), SPECS["prediction"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=9, wait_s=0, capacity=100)
    live = LiveScorer(Scorer(detector))
    numbers = [0, 1, 2, None, 4, 5, 6, 7, 8, 9]
    for number in numbers:
        bright = 255 if number == 4 else 60 + (number or 0)
        item = GAP if number is None else Frame(number, number / 10, np.full((*SIZE, 3), bright, np.uint8), 0.0, 0.0)
        live.add("a", item)
        for ready in [*windows.push(item), *([item] if item is GAP else [])]:
            batches.put("a", ready)
    batch = batches.take(0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            list(live.score(batch))
    results = [result for _, result in live.skip(batch)]
    assert [None if result is GAP else result.frame.index for result in results] == numbers
    assert all(result is GAP or np.isnan(result.score) for result in results)
    assert list(live.finish("a")) == []


class Faltering(Learner):
    """Fails at a white image, after an update with the images before it."""

    def step(self, x, state):
        if x.max() > 0.99:
            raise RuntimeError("out of memory")
        return super().step(x, state)


def test_a_batch_that_fails_half_way_updates_no_state():
    """One camera has two images, of which the second fails; another camera has one, which is scored again alone."""
    pixels = torch.tensor([0.2, 0.6, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, *SIZE)
    scorer = Scorer(Faltering(DetectorOptions(), InputSpec(size=SIZE)))
    with pytest.raises(RuntimeError, match="out of memory"):
        scorer.score_streams(pixels, ["a", "b", "a"])
    alone = [float(scorer.score_streams(pixels[row : row + 1], [name]).score[0]) for row, name in ((0, "a"), (1, "b"))]
    assert alone == pytest.approx([0.2, 0.6])
    assert float(scorer.score_streams(pixels[:1], ["a"]).score[0]) == pytest.approx(0.2 - 0.2 * 0.2)


def test_windows_that_were_dropped_leave_frames_without_scores():
    detector = Change(DetectorOptions(), SPECS["image"])
    windows, batches = LiveWindows(detector.input), LiveBatches(batch_size=3, wait_s=0, capacity=1)
    live = LiveScorer(Scorer(detector))
    for number in range(5):
        item = Frame(number, number / 10, np.full((*SIZE, 3), 50, np.uint8), 0.0, 0.0)
        live.add("a", item)
        for clip in windows.push(item):
            batches.put("a", clip)
    results = [result for _, result in live.score(batches.take(0))] + list(live.finish("a"))
    assert [result.frame.index for result in results] == [0, 1, 2, 3, 4]
    assert [np.isnan(result.score) for result in results] == [True, True, True, True, False]
