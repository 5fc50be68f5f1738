"""The one clock through the verbs: files whose time is damaged, restarts, or jumps mean the same to each of them."""

import numpy as np
import pytest
from PIL import Image

from offnormal.bundle import Bundle
from offnormal.cli.predict import as_json, as_text
from offnormal.config.score import CalibrateConfig, EvaluateConfig
from offnormal.data.dataset import Dataset
from offnormal.data.label_table import read_label_table
from offnormal.errors import CalibrationError, DataError
from offnormal.evaluation.evaluate import _join_streams, evaluate_scores, metrics_json
from offnormal.events.alarms import find_alarms
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores
from offnormal.verbs.calibrate import calibrate_bundle
from offnormal.verbs.evaluate import score_dataset
from tests.items import video
from tests.verbs.test_predict import AT_ONCE, SIZE, alarms, bundle, predict
from tests.video_files import write_video

CALM, LOUD = 40, 200  # below and above the threshold of 100
RATED = {**AT_ONCE, "incident_gap": 0}  # each alarm is an incident


def gray(values):
    return [np.full((*SIZE, 3), value, np.uint8) for value in values]


def evaluate(path, labels, **more):
    item = video(path, name=path.name, frame_labels=None if labels is None else np.asarray(labels, np.uint8))
    dataset = Dataset(name="d", layout="videos", root=path.parent, test=(item,))
    config = EvaluateConfig(**{"batch_size": 32, "workers": 1, "rules": AT_ONCE, **more})
    partial, missing, _ = score_dataset(bundle(), dataset, config)
    return evaluate_scores(
        dataset,
        partial,
        calibration=bundle().calibration,
        missing=missing,
        bundle="b",
        fingerprint="f",
        rules=EventRules.from_config(config.rules),
        hysteresis=config.rules.hysteresis,
        smooth_s=config.smooth,
    )


def calibrate(path, rate, **more):
    return calibrate_bundle(
        Bundle(bundle().detector, bundle().calibration, card={"data": {}}, hash="b"),
        CalibrateConfig(normal=path, rate=rate, **{"batch_size": 32, "workers": 1, "rules": RATED, **more}),
    ).calibration


def lose(path, frame):
    """Overwrite the packet of one frame of a motion JPEG in AVI."""
    content = bytearray(path.read_bytes())
    chunks = [at for at in range(content.index(b"movi"), len(content)) if content[at : at + 4] == b"00dc"]
    length = int.from_bytes(content[chunks[frame] + 4 : chunks[frame] + 8], "little")
    content[chunks[frame] + 8 : chunks[frame] + 8 + length] = bytes(length)
    path.write_bytes(content)
    return path


def joined(tmp_path, values, other):
    """A transport stream joined from two, so that its clock starts anew."""
    parts = [write_video(tmp_path / f"{i}.ts", gray(part), fps=25, gop=25) for i, part in enumerate((values, other))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_one_damaged_packet_changes_nothing_but_its_frame(tmp_path):
    values = [LOUD if i % 100 < 5 else CALM for i in range(600)]  # 6 alarms in 60 s, 10 frames a second
    whole = write_video(tmp_path / "whole.avi", gray(values), fps=10, codec="mjpeg")
    damaged = lose(write_video(tmp_path / "damaged.avi", gray(values), fps=10, codec="mjpeg"), 250)
    report, intact = evaluate(damaged, [0] * 600).alarms, evaluate(whole, [0] * 600).alarms
    assert (intact.footage_s, report.footage_s) == (pytest.approx(60), pytest.approx(59.9))
    assert report.false_alarms == intact.false_alarms == 6
    assert report.false_alarms_per_hour == pytest.approx(6 * 3600 / 59.9)
    (prediction,), _ = predict(bundle(), [damaged])
    assert prediction.seconds == pytest.approx(60) and len(alarms(prediction)) == 6
    assert calibrate(damaged, "400/hour").threshold == calibrate(whole, "400/hour").threshold


def test_a_stream_joined_from_two_is_sixteen_seconds_for_every_verb(tmp_path):
    path = joined(tmp_path, [CALM] * 200, [CALM] * 50 + [LOUD] * 50 + [CALM] * 100)
    (tmp_path / "labels.csv").write_text("start_s,end_s\n10.0,11.96\n")
    labels = read_label_table(tmp_path / "labels.csv", path)
    assert np.flatnonzero(labels).tolist() == list(range(250, 300))
    evaluation = evaluate(path, labels)
    assert evaluation.metrics["frame_AUC_micro"] == 1.0
    assert evaluation.alarms.footage_s == pytest.approx(16) and evaluation.alarms.detected == 1
    (prediction,), _ = predict(bundle(), [path])
    assert prediction.seconds == pytest.approx(16)
    assert [(alarm.start_s, alarm.end_s) for alarm in alarms(prediction)] == [pytest.approx((10, 12))]
    assert any(warning.startswith("restarted: ") and "frame 200" in warning for warning in prediction.warnings)


def test_a_clock_that_falls_back_is_a_restart_and_no_overflow(tmp_path):
    """FFmpeg adds 26.5 h to the times after the restart."""
    first = write_video(tmp_path / "up.ts", gray([CALM] * 50), times=[3600 + i / 25 for i in range(50)], gop=25)
    second = write_video(tmp_path / "again.ts", gray([CALM] * 20 + [LOUD] * 30), fps=25, gop=25)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    (tmp_path / "labels.csv").write_text("start_s,end_s\n2.8,3.96\n")
    result = evaluate(path, read_label_table(tmp_path / "labels.csv", path))
    assert result.metrics["frame_AUC_micro"] == 1.0 and result.alarms.footage_s == pytest.approx(4)
    (prediction,), _ = predict(bundle(), [path])
    assert [(alarm.start_s, alarm.end_s) for alarm in alarms(prediction)] == [pytest.approx((2.8, 4.0))]


def test_an_alarm_ends_where_the_clock_starts_anew(tmp_path):
    path = joined(tmp_path, [CALM] * 20 + [LOUD] * 30, [LOUD] * 30 + [CALM] * 20)
    (prediction,), _ = predict(bundle(), [path])
    assert [(alarm.start, alarm.stop) for alarm in alarms(prediction)] == [(20, 50), (50, 80)]
    evaluated = [labeled.alarm for labeled in evaluate(path, None).alarms.alarms]
    assert [(alarm.start, alarm.stop) for alarm in evaluated] == [(20, 50), (50, 80)]


def test_a_motion_recording_has_the_alarms_of_its_bursts(tmp_path):
    times = [600 * burst + i / 5 for burst in range(60) for i in range(50)]
    values = [LOUD if burst < 23 and i < 34 else CALM for burst in range(60) for i in range(50)]
    path = write_video(tmp_path / "motion.mkv", gray(values), times=times, gop=50)
    report = evaluate(path, [0] * 3000).alarms
    assert [labeled.alarm.end_s - labeled.alarm.start_s for labeled in report.alarms] == pytest.approx(
        [6.8] * 23, abs=2e-3
    )
    assert report.footage_s == pytest.approx(600, abs=0.1) and report.false_alarms_per_hour == pytest.approx(
        6 * 23 * 3600 / (6 * 600), rel=1e-3
    )
    (prediction,), _ = predict(bundle(), [path], overlays=tmp_path / "o")
    assert prediction.seconds == pytest.approx(600, abs=0.1) and len(alarms(prediction)) == 23
    assert alarms(prediction)[1].start_s == pytest.approx(600, abs=2e-3), "where it is in the file"
    assert list(prediction.overlays) == [alarm.peak for alarm in alarms(prediction)]
    assert "10:00" in as_text(prediction)[0]
    with pytest.raises(CalibrationError, match=r"by 10 min of footage"):
        calibrate(path, "1/hour")


def test_files_shorter_than_a_block_are_footage_too(tmp_path, caplog):
    for number in range(30):
        write_video(tmp_path / f"{number:03}.mp4", gray([CALM + 2 * number] * 20), fps=2)
    with caplog.at_level("WARNING"), pytest.raises(CalibrationError, match=r"by 5 min of footage"):
        calibrate(tmp_path, "1/hour")
    assert "30 files are joined to one stream of 300 s" in caplog.text


def test_consecutive_files_of_one_recorder_calibrate_like_one_file(tmp_path):
    values = [CALM + i // 4 % 7 for i in range(200)]
    values[95:105] = [LOUD] * 10  # the loud seconds continue in the second file
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    write_video(tmp_path / "whole/a.mp4", gray(values), fps=5)
    for name, part in (("120000", values[:100]), ("120020", values[100:])):
        write_video(tmp_path / f"parts/cam1_20240101_{name}.mp4", gray(part), fps=5)
    whole, parts = (calibrate(tmp_path / name, "900/hour") for name in ("whole", "parts"))
    assert parts.threshold == pytest.approx(whole.threshold, abs=1) and parts.rank == whole.rank
    assert (parts.groups, whole.groups) == (1, 1)
    shared = calibrate(tmp_path / "parts", "5%")
    assert shared.groups == calibrate(tmp_path / "whole", "5%").groups == 10, "stretches of one stream"


def test_an_alarm_that_continues_in_the_next_file_counts_once_for_the_guarantee(tmp_path):
    names = ("cam1_20240101_120000.mp4", "cam1_20240101_120004.mp4")
    parts = ([CALM] * 80 + [LOUD] * 20, [LOUD] * 20 + [CALM] * 80)
    series = [FrameScores(name, part, None, np.arange(100) / 25) for name, part in zip(names, parts, strict=True)]
    items = tuple(video(tmp_path / name, name=name) for name in names)
    (stream,) = _join_streams(Dataset(name="d", layout="videos", root=tmp_path, test=items), series)
    rules = EventRules.from_config(EvaluateConfig(rules=AT_ONCE).rules)
    assert [len(find_alarms(each, 100.0, rules)) for each in (*series, stream)] == [1, 1, 1]


def test_an_hour_that_the_clock_jumps_is_no_footage(tmp_path):
    times = [i / 25 + 3600 * (i >= 200) for i in range(400)]
    path = write_video(tmp_path / "jump.mkv", gray([LOUD if i == 300 else CALM for i in range(400)]), times=times)
    alarms = evaluate(path, [0] * 400).alarms
    assert alarms.footage_s == pytest.approx(16, abs=2e-3) and alarms.false_alarms_per_hour == pytest.approx(
        225, rel=1e-3
    )
    (prediction,), _ = predict(bundle(), [path])
    assert prediction.seconds == pytest.approx(16, abs=2e-3)


def test_a_video_of_one_frame_lasts_one_frame(tmp_path):
    (prediction,), _ = predict(bundle(), [write_video(tmp_path / "one.mp4", gray([LOUD]), fps=10)])
    assert prediction.seconds == prediction.alarms.footage_in_alarm_s == pytest.approx(0.1)
    alarms = evaluate(tmp_path / "one.mp4", [0]).alarms
    assert alarms.footage_s == pytest.approx(0.1) and alarms.false_alarms_per_hour == pytest.approx(36_000)
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.new("RGB", (48, 32), (LOUD,) * 3).save(folder / "0.png")
    (prediction,), _ = predict(bundle(), [folder])
    assert prediction.seconds == pytest.approx(1 / 25) and prediction.is_anomalous, "25 frames a second are assumed"


@pytest.mark.parametrize("every", [None, "200ms", "700ms", "1s", "30s"])
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_thinning_does_not_change_the_duration(tmp_path, every, suffix):
    values = [CALM] * 80 + [LOUD] * 85
    path = write_video(tmp_path / f"a.{suffix}", gray(values), fps=25, bframes=2)
    if suffix == "ts":
        path = joined(tmp_path, values[:100], values[100:])
    (prediction,), _ = predict(bundle(), [path], every=every)
    assert prediction.seconds == pytest.approx(165 / 25)
    assert prediction.alarms.footage_s == pytest.approx(165 / 25)
    assert as_json(prediction)["seconds"] == pytest.approx(6.6)


def test_footage_without_a_clock_is_treated_alike_by_every_verb(tmp_path):
    folder = tmp_path / "frames" / "a"
    folder.mkdir(parents=True)
    for index in range(600):
        Image.new("RGB", (48, 32), ((LOUD if index % 100 < 5 else CALM),) * 3).save(folder / f"{index:03}.png")
    evaluation = evaluate(folder, [0] * 600, smooth="1s")
    assert evaluation.alarms.footage_s == pytest.approx(24) and evaluation.alarms.false_alarms == 6
    assert metrics_json(evaluation)["data"]["assumed_fps"] == 25
    (prediction,), _ = predict(bundle(), [folder])
    assert prediction.seconds == pytest.approx(24) and len(alarms(prediction)) == 6
    assert as_json(prediction)["assumed_fps"] == 25 and as_json(prediction)["verdict"] == "anomalous"
    assert evaluate(folder, [0] * 600, fps=10).alarms.footage_s == pytest.approx(60)
    (prediction,), _ = predict(bundle(), [folder], fps=10)
    assert prediction.seconds == pytest.approx(60) and len(alarms(prediction)) == 6


def test_a_bare_stream_has_no_clock_and_no_seconds_for_labels(tmp_path):
    path = write_video(tmp_path / "bare.h264", gray([CALM] * 20), fps=10)
    (tmp_path / "frames.csv").write_text("start,end\n5,9\n")
    (tmp_path / "seconds.csv").write_text("start_s,end_s\n0.2,0.36\n")
    assert np.flatnonzero(read_label_table(tmp_path / "frames.csv", path)).tolist() == [5, 6, 7, 8, 9]
    with pytest.raises(DataError, match=r"needs a clock, and .* is a raw stream without one"):
        read_label_table(tmp_path / "seconds.csv", path)
    (prediction,), _ = predict(bundle(), [path])
    assert as_json(prediction)["assumed_fps"] == 25 and prediction.seconds == pytest.approx(20 / 25)
    (prediction,), _ = predict(bundle(), [path], fps=10)
    assert as_json(prediction)["assumed_fps"] is None and prediction.seconds == pytest.approx(20 / 10)
