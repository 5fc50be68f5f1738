import logging

import numpy as np
import pytest

from offnormal.data.layouts.ucf_crime import UcfCrimeLayout
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import write_video

LINES = (
    "Abuse028_x264.mp4  Abuse  3  5  -1  -1  \n"
    "Arson011_x264.mp4  Arson  1  2  8  30  \n"
    "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \n"
)


def crimes(root, *, lists=True, videos="", annotation="Temporal_Anomaly_Annotation_for_Testing_Videos.txt"):
    base = root / videos
    for name in ("Normal_Videos001_x264", "Normal_Videos002_x264"):
        write_video(base / f"Training_Normal_Videos_Anomaly/{name}.mp4", 4, fps=30)
    write_video(base / "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4", 6, fps=30)
    write_video(base / "Abuse/Abuse001_x264.mp4", 4, fps=30)
    write_video(base / "Abuse/Abuse028_x264.mp4", 8, fps=30)
    write_video(base / "Arson/Arson011_x264.mp4", 10, fps=30)
    (root / annotation).parent.mkdir(parents=True, exist_ok=True)
    (root / annotation).write_text(LINES)
    if lists:
        (root / "Anomaly_Train.txt").write_text(
            "Abuse/Abuse001_x264.mp4\r\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\r\n"
        )
    return root


def test_normal_training_videos_and_spans_from_1(tmp_path):
    root = crimes(tmp_path / "UCF_Crimes")
    (dataset,) = open_datasets(root)
    assert dataset.layout == "ucf_crime"
    assert [item.name for item in dataset.train] == ["Normal_Videos001_x264"], "those of the list"
    labels = {item.name: item.frame_labels.tolist() for item in dataset.test}
    assert labels == {
        "Abuse028_x264": [0, 0, 1, 1, 1, 0, 0, 0],
        "Arson011_x264": [1, 1, 0, 0, 0, 0, 0, 1, 1, 1],  # the annotation may exceed the video
        "Normal_Videos_003_x264": [0] * 6,
    }
    assert [item.class_name for item in dataset.test] == ["Abuse", "Arson", "Normal"]


def test_other_places_and_no_list(tmp_path):
    name = "Temporal_Anomaly_Annotation_For_Testing_Videos/Txt_formate/Temporal_Anomaly_Annotation.txt"
    root = crimes(tmp_path / "set", lists=False, videos="Videos", annotation=name)
    dataset = UcfCrimeLayout.read(root)
    assert [item.name for item in dataset.train] == ["Normal_Videos001_x264", "Normal_Videos002_x264"]
    assert len(dataset.test) == 3


def test_missing_videos_are_counted_and_the_copy_in_the_class_folder_is_used(tmp_path, caplog):
    root = crimes(tmp_path)
    (root / "Arson/Arson011_x264.mp4").unlink()
    write_video(root / "A_Normal_Videos_event/Normal_Videos_003_x264.mp4", 6, fps=30)
    with caplog.at_level(logging.WARNING):
        dataset = UcfCrimeLayout.read(root)
    assert "1 of its 3 videos are missing" in caplog.text
    assert [item.path.parent.name for item in dataset.test] == ["Abuse", "Testing_Normal_Videos_Anomaly"]
    assert np.sum(dataset.test[0].frame_labels) == 3


@pytest.mark.parametrize(
    "line", ["Abuse028_x264.mp4 Abuse 3", "Abuse028_x264.mp4 Abuse a b -1 -1", "x.mp4 Abuse 9 3 -1 -1"]
)
def test_a_line_in_another_form_is_refused(tmp_path, line):
    (crimes(tmp_path) / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").write_text(f"{LINES}{line}\n")
    with pytest.raises(DataError, match=r"line 4: .*; expected a video, its class"):
        UcfCrimeLayout.read(tmp_path)


def test_a_span_after_the_end_is_refused(tmp_path):
    file = crimes(tmp_path) / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"
    file.write_text("Abuse028_x264.mp4 Abuse 90 99 -1 -1")
    with pytest.raises(DataError, match=r"Abuse028_x264: anomalous frames 89 to 98 .*, but the video has 8 frames"):
        UcfCrimeLayout.read(tmp_path)


def test_a_copy_at_another_rate_is_named(tmp_path, caplog):
    root = crimes(tmp_path)
    write_video(root / "Abuse/Abuse028_x264.mp4", 8, fps=10)
    with caplog.at_level(logging.WARNING):
        UcfCrimeLayout.read(root)
    assert "Abuse028_x264.mp4: 10 frames per second, but the annotation counts frames at 30" in caplog.text
