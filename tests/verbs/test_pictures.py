import os
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from offnormal import api
from offnormal.bundle import load
from offnormal.evaluation.table import DecisionRule
from offnormal.events.machine import EventRules
from offnormal.scoring import ScoredFrame
from offnormal.types import Frame, InputSpec
from offnormal.verbs.pictures import VideoPictures, video_info, write_map
from tests.verbs.test_predict import bundle
from tests.video_files import numbered, write_video

SPEC = InputSpec(size=(16, 24))
DECIDE = DecisionRule.from_calibration(bundle().calibration)  # threshold 100


def frames(scores, *, restarts=()):
    for index, score in enumerate(scores):
        image = np.full((32, 48, 3), index, np.uint8)
        yield ScoredFrame(
            Frame(index, index / 10, image, restarts=index in restarts), score, np.full(SPEC.size, score, np.float32)
        )


def pictures(**options):
    values = {"annotate": None, "overlays": None, "fps": 10, "rules": EventRules(min_duration_s=0.15, merge_gap_s=0.3)}
    return VideoPictures(spec=SPEC, decide=DECIDE, low_threshold=90.0, **{**values, **options})


def test_a_map_is_written_at_the_size_of_its_image(tmp_path):
    Image.new("RGB", (48, 32), (9, 9, 9)).save(tmp_path / "a.png")
    anomaly_map = np.zeros(SPEC.size, np.float32)
    anomaly_map[:8, :12] = 200
    picture, raw = write_map(tmp_path / "a.png", anomaly_map, SPEC, DECIDE, tmp_path / "o" / "a.b")
    assert (picture.name, raw.name) == ("a.b.png", "a.b.tiff"), "what follows a dot in a name stays"
    values = np.asarray(Image.open(raw))
    assert values.shape == (32, 48) and values.dtype == np.float32
    assert values[2, 2] == pytest.approx(200) and values[30, 40] == pytest.approx(0)
    drawn = np.ptp(np.asarray(Image.open(picture)).astype(int), axis=2)
    assert drawn[4, 4] > 40 and drawn[30, 40] < 15


def test_the_highest_frame_of_each_alarm_is_drawn(tmp_path):
    scores = [50, 120, 130, 150, 50, 50, 50, 50, 50, 300, 50, 50, 110, 110, 110]
    with pictures(overlays=tmp_path / "a") as drawing:
        for frame in frames(scores):
            drawing.add(frame)
    assert list(drawing.drawn) == [3, 12], "frame 9 alone is too short for an alarm"
    assert np.asarray(Image.open(drawing.drawn[3])).shape == (32, 48, 3)
    assert drawing.drawn[12] == tmp_path / "a-000012.png"


def test_an_alarm_ends_where_the_clock_starts_again(tmp_path):
    with pictures(overlays=tmp_path / "a") as drawing:
        for frame in frames([50, 120, 130, 150, 160, 110, 110], restarts=[4]):
            drawing.add(frame)
    assert list(drawing.drawn) == [3, 4]


def test_a_video_that_ends_badly_leaves_no_file(tmp_path):
    drawing = pictures(annotate=tmp_path / "x.mp4")
    with pytest.raises(ZeroDivisionError), drawing:
        for frame in frames([50, 120, 130]):
            drawing.add(frame)
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_container_states(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(5), fps=10)
    assert video_info(path, None).fps == 10
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert video_info(tmp_path / "b.mp4", None) is None


def test_a_name_that_is_not_unicode_is_kept(plain, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    image = tmp_path / "a.png"
    Image.fromarray(np.full((16, 16, 3), 120, np.uint8)).save(image)
    image.rename(tmp_path / name)
    with closing(api.predict(load(plain), tmp_path / name, overlays=tmp_path / "maps", csv=tmp_path / "s.csv")) as rows:
        assert len(list(rows)) == 1
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {name, name[:-4] + ".tiff"}
    assert "caf\\udce9.png" in (tmp_path / "s.csv").read_text(encoding="utf-8")
