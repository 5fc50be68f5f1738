from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.clip_evaluation import ScoredClip, judge_clips
from offnormal.data.dataset import Dataset
from offnormal.report.clip_gallery import ClipPicture
from offnormal.report.clip_headline import lead, promise, warnings
from offnormal.report.clip_page import render_clips
from tests.items import video

SCORES = {
    ("run <1>", "train"): [1.0, 1.1, 1.2],
    ("run <1>", "calibration"): [1.4],
    ("run <1>", "test"): [1.3, 2.5],
    ("lift", "anomalous"): [1.35, 3.0, 4.0],
}


def evaluation(*, calibrated=True, labels=True, n=9, vectors=False, classes=True):
    calibration = None
    if calibrated:
        held = np.linspace(0.5, 1.4, n)
        calibration = calibrate_scores(held, None, rate=None, kind="held_out", bundle="b", things="clips")
    rows = [
        ScoredClip(
            video=video(f"{action}/{i}.mp4", name=f"{action}/{i}", class_name=action if classes else None),
            part=part,
            label=int(part == "anomalous") if labels else None,
            score=score,
            tail_probability=None if calibration is None else 0.1,
            anomalous=None if calibration is None else score > calibration.threshold,
        )
        for (action, part), found in SCORES.items()
        for i, score in enumerate(found)
        for action in [action + part]
        for action in [action.removesuffix(part)]
    ]
    rows = [replace(row, video=replace(row.video, name=f"{row.video.name}-{row.part}")) for row in rows]
    rng = np.random.default_rng(0)
    return judge_clips(
        Dataset(name="acts", layout="class_folders", root=Path("acts")),
        rows,
        calibration=calibration,
        skipped=[],
        bundle="b",
        fingerprint="f",
        embeddings=rng.normal(size=(len(rows), 5)) if vectors else None,
    )


def test_the_page_says_what_is_kept_and_caught():
    found = evaluation(vectors=True)
    assert lead(found) == "At the threshold 1.400: 2 of 3 anomalous clips caught, 1 of 2 normal clips kept."
    page = render_clips(found, [ClipPicture("miss", found.clips[6], (np.zeros((9, 12, 3), np.uint8),) * 5)], {})
    assert "run &lt;1&gt;" in page
    assert "run <1>" not in page
    for said in ("Worst misses", "Embeddings", "Scores by class", "nobody has beforehand", "data:image/webp"):
        assert said in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_few_clips_are_told_to_promise_little():
    assert "9 normal clips" in warnings(evaluation())[0]
    assert "10.0 %" in warnings(evaluation())[0]
    assert not any("promise" in said for said in warnings(evaluation(n=99)))


def test_the_promise_stands_beside_what_happened():
    found = promise(evaluation())
    assert "1 of 2 normal test clips" in found.judgement
    assert [track.rate for track in found.tracks] == pytest.approx([10, 50])


@pytest.mark.parametrize("options", [{"calibrated": False}, {"labels": False}, {"classes": False}])
def test_what_is_not_known_is_left_out(options):
    found = evaluation(**options)
    page = render_clips(found, [], {})
    assert ("Any other threshold" in page) == (options.get("labels", True) and options.get("calibrated", True))
    assert ("Scores by class" in page) == (options.get("labels", True) and options.get("classes", True))
    if not options.get("labels", True):
        assert "no labels" in found.missing["clip metrics"]
