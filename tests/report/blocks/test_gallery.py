from __future__ import annotations

import numpy as np
import pytest

from offnormal.report.video_gallery import video_gallery
from offnormal.report.video_picture import VideoPicture
from tests.report.conftest import frame_series, video_evaluation

RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def street():
    series = [frame_series(RNG, name, 300, ((100, 120),)) for name in ("01", "02")]
    return video_evaluation(series)


def shot(role, score, video="01", frame=7, **given):
    image = given.pop("image", np.full((20, 30, 3), 90, np.uint8))
    return VideoPicture(role=role, video=video, frame=frame, time_s=75.0, score=score, image=image, **given)


def test_roles_have_their_sections_with_how_many_there_are(street):
    found = [shot("peak", 9.0), shot("false_alarm", 8.0, label=0), shot("miss", 2.0, label=1)]
    sections, scale = video_gallery(street, found)
    assert [(section.title, section.of) for section in sections] == [
        ("Worst false alarms", street.operation.false_alarms),
        ("Missed", street.operation.missed),
        ("Highest frames", None),
    ]
    assert scale is None, "no map"
    first = sections[0].shots[0]
    assert (first.name, first.kind, first.score) == ("01 · 1:15 · frame 7", "normal", 8.0)
    assert first.against == pytest.approx(8.0 / street.calibration.threshold)
    assert first.tail == pytest.approx(street.calibration.tail_probability(np.array([8.0]))[0])


def test_without_a_threshold_nothing_is_called_false_or_missed():
    found = video_evaluation([frame_series(RNG, "01", 60, ((20, 30),))], calibration=None)
    sections, _ = video_gallery(found, [shot("false_alarm", 8.0), shot("miss", 2.0)])
    assert [section.title for section in sections] == ["Highest normal frames", "Lowest labelled spans"]
    assert all(section.shots[0].against is None and section.shots[0].tail is None for section in sections)


def test_peaks_come_in_turns_of_the_videos(street):
    found = [shot("peak", score, video) for score, video in ((9, "01"), (8, "01"), (3, "02"), (2, "02"), (7, "01"))]
    (section,), _ = video_gallery(street, found)
    assert [(picture.name[:2], picture.score) for picture in section.shots] == [
        ("01", 9),
        ("02", 3),
        ("01", 8),
        ("02", 2),
        ("01", 7),
    ]


def test_pictures_are_capped_by_number_and_by_size(street):
    (section,), _ = video_gallery(street, [shot("peak", i, f"{i:03}") for i in range(107)])
    assert (len(section.shots), section.of, section.shots[0].score) == (16, 107, 106)
    noise = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    found = [shot("peak", i, f"{i:03}", image=noise, map=noise[..., 0].astype(np.float32)) for i in range(16)]
    (section,), scale = video_gallery(street, found)
    assert scale is not None and 1 <= len(section.shots) < 16 and section.of == 16
    assert sum(len(frame.uri) for picture in section.shots for frame in picture.frames) < 900_000
