"""Predictions on videos through a detector whose scores can be told beforehand: the brightness of the last frame."""

import json
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import calibrate_scores
from offnormal.cli.main import run as program
from offnormal.config.score import PredictConfig
from offnormal.errors import UsageError, VideoError
from offnormal.evaluation.scores_csv import read_table
from offnormal.sources.video import open_video
from offnormal.types import InputSpec, Output, Resize, Unit
from offnormal.verbs import predict as verb
from offnormal.verbs.predict import Predictor, annotated_paths, items_to_predict
from tests.actions import NORMAL
from tests.items import image, video
from tests.video_files import cut, write_video

SIZE = (32, 48)
AT_ONCE = {"min_duration": 0, "merge_gap": 1}  # rules by which every frame above the threshold is in an alarm


class Brightness(torch.nn.Module):
    """Scores each target of a clip by its value, 0-255, and marks its left half."""

    def __init__(self, spec):
        super().__init__()
        self.input = spec
        self.ignored = None

    def require_fitted(self):
        pass

    def forward(self, x):
        frames = x[:, 0] if x.ndim == 5 else x[:, :1, 0]  # (N, T, H, W)
        frames = frames if x.ndim == 5 else x[:, 0][:, None]
        score = frames.flatten(2).mean(2)[:, list(self.input.targets)] * 255
        maps = torch.zeros(*score.shape, *self.input.size)
        maps[..., : self.input.size[1] // 2] = score[:, :, None, None]
        return Output(score=score, map=maps)


def bundle(*, calibrated=True, **more):
    detector = Brightness(InputSpec(size=SIZE, **more))
    calibration = None
    if calibrated:  # threshold 100
        scores = np.linspace(1, 100, 100)
        calibration = calibrate_scores(scores, scores, rate=None, kind="held_out", bundle="b")
    return Bundle(detector, calibration, hash="b")


def write(path, values, **more):
    """A video of even gray frames, 10 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, [np.full((*SIZE, 3), value, np.uint8) for value in values], fps=10, **more)


QUIET_LOUD = [40] * 10 + [200] * 5 + [40] * 3 + [220] * 2 + [40] * 20 + [180] * 4


def predict(bundle, paths, **config):
    predictor = Predictor(bundle, PredictConfig(**{"batch_size": 4, "rules": AT_ONCE, **config}))
    return list(predictor.over([video(path) for path in paths])), predictor


def alarms(prediction):
    return [labeled.alarm for labeled in prediction.alarms.alarms]


def bounds(prediction):
    """Start and end of each alarm in seconds."""
    return [time_s for alarm in alarms(prediction) for time_s in (alarm.start_s, alarm.end_s)]


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24").astype(int)) for frame in container.decode(video=0)]


def test_alarms_with_their_times_and_peaks(tmp_path):
    path = write(tmp_path / "a.mp4", QUIET_LOUD)
    (prediction,), _ = predict(bundle(), [path])
    assert [(alarm.start, alarm.stop, alarm.peak) for alarm in alarms(prediction)] == [(10, 20, 18), (40, 44, 40)]
    assert bounds(prediction) == pytest.approx([1.0, 2.0, 4.0, 4.4])  # with the last frame
    assert prediction.seconds == pytest.approx(4.4)
    assert prediction.alarms.footage_in_alarm_s == pytest.approx(1.4)
    p_value = prediction.table.p_value
    assert p_value[12] < 0.02 and p_value[2] > 0.4
    (apart,), _ = predict(bundle(), [path], rules={"min_duration": 0, "merge_gap": 0.1})
    assert [alarm.start for alarm in alarms(apart)] == [10, 18, 40]
    (none,), _ = predict(bundle(), [path], threshold=250)
    assert alarms(none) == [] and none.threshold == 250 and none.is_anomalous is False
    (short,), _ = predict(bundle(), [path], rules={})
    assert alarms(short) == [], "by default an alarm lasts at least a second"


def test_an_image_has_one_row_and_its_map(tmp_path):
    paths = [tmp_path / f"{value}.png" for value in (40, 200)]
    for path, value in zip(paths, (40, 200), strict=True):
        Image.new("RGB", (48, 32), (value,) * 3).save(path)
    predictor = Predictor(bundle(), PredictConfig(overlays=tmp_path / "o"))
    calm, loud = predictor.over([image(path) for path in paths])
    assert (calm.is_anomalous, loud.is_anomalous) == (False, True)
    assert loud.table.score == pytest.approx([200]) and loud.map.max() == pytest.approx(200)
    assert (loud.alarms, loud.seconds, loud.peak) == (None, None, 0)
    assert loud.map_path == tmp_path / "o" / "200.tiff" and loud.overlays == {0: tmp_path / "o" / "200.png"}
    assert np.asarray(Image.open(loud.map_path))[5, 5] == pytest.approx(200)


@pytest.mark.parametrize(
    ("spec", "first"),
    [({}, 0), ({"frames": 3}, 2), ({"frames": 3, "targets": (0, 1, 2)}, 0), ({"frames": 4, "sampling": "uniform"}, 43)],
)
def test_every_frame_is_drawn_with_its_score_whatever_the_clip(tmp_path, spec, first):
    (prediction,), _ = predict(bundle(**spec), [write(tmp_path / "a.mp4", QUIET_LOUD)], annotate=tmp_path / "x.mp4")
    frames = decoded(prediction.annotated)
    assert [when for when, _ in frames] == pytest.approx(np.arange(44) / 10)
    scores = prediction.table.score
    assert np.flatnonzero(~np.isnan(scores))[0] == first
    for (_, drawn), score in zip(frames, scores, strict=True):
        alarm = score > 100
        left, right = drawn[40:280, 40:200], drawn[40:280, 280:440]
        assert (np.ptp(right.mean((0, 1))) < 12) and (np.ptp(left.mean((0, 1))) > 40) == alarm, "heat where the map is"
        assert (drawn[1, 1, 0] - drawn[1, 1, 1] > 60) == alarm, "red border"


@pytest.mark.parametrize("hold", [False, True])
def test_between_windows_the_picture_stays_and_scores_are_held_on_request(tmp_path, hold):
    path = write(tmp_path / "a.mp4", QUIET_LOUD)
    (prediction,), _ = predict(bundle(hop=4), [path], annotate=tmp_path / "x.mp4", hold=hold, overlays=tmp_path / "o")
    scored = ~np.isnan(prediction.table.score)
    assert scored.sum() == (44 if hold else 11)
    red = [drawn[1, 1, 0] - drawn[1, 1, 1] > 60 for _, drawn in decoded(prediction.annotated)]
    assert np.flatnonzero(red).tolist() == [*range(12, 16), *range(40, 44)]
    assert [alarm.peak for alarm in alarms(prediction)] == sorted(prediction.overlays)


def test_the_peak_of_every_alarm_is_a_picture_with_its_map(tmp_path):
    (prediction,), _ = predict(bundle(frames=2), [write(tmp_path / "a.mp4", QUIET_LOUD)], overlays=tmp_path / "o")
    assert list(prediction.overlays) == [18, 40]
    assert [path.name for path in sorted((tmp_path / "o").iterdir())] == ["a-000018.png", "a-000040.png"]
    picture = np.asarray(Image.open(prediction.overlays[18])).astype(int)
    assert picture.shape == (*SIZE, 3)
    assert abs(picture[16, 40] - 220).max() < 8 and np.ptp(picture[16, 8]) > 40


def test_maps_of_cropped_pictures_lie_where_the_detector_looked(tmp_path):
    resize = Resize(policy="short_side", short_side=32)
    cropped = Bundle(Brightness(InputSpec(size=(32, 32), resize=resize)), bundle().calibration, hash="b")
    (prediction,), _ = predict(
        cropped, [write(tmp_path / "a.mp4", [200] * 3)], annotate=tmp_path / "x.mp4", overlays=tmp_path / "o"
    )
    _, drawn = decoded(prediction.annotated)[1]  # of 48 columns 8 to 40 were looked at, 8 to 24 are marked
    heat = np.ptp(drawn[100:200], axis=2).mean(0)  # ten times as large
    assert heat[95:225].min() > 40 and heat[15:65].max() < 15 and heat[255:465].max() < 15
    picture = np.ptp(np.asarray(Image.open(prediction.overlays[0])).astype(int)[16], axis=1)
    assert picture[12:20].min() > 40 and picture[:6].max() < 15 and picture[34:].max() < 15


def test_with_every_only_some_frames_are_scored_and_drawn(tmp_path):
    path = write(tmp_path / "a.mp4", QUIET_LOUD)
    (prediction,), _ = predict(bundle(), [path], every="500ms", annotate=tmp_path / "x.mp4", overlays=tmp_path / "o")
    assert np.flatnonzero(prediction.table.scored).tolist() == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert [when for when, _ in decoded(prediction.annotated)] == pytest.approx(np.arange(9) / 2)
    assert bounds(prediction) == pytest.approx([1.0, 1.5, 4.0, 4.4])
    assert prediction.seconds == pytest.approx(4.4), "as without thinning"
    assert [alarm.peak for alarm in alarms(prediction)] == list(prediction.overlays) == [10, 40]
    with pytest.raises(UsageError, match="--hold and --every"):
        predict(bundle(), [path], every="1s", hold=True)


def test_without_a_calibration_there_are_scores_and_pictures_but_no_alarms(tmp_path):
    path = write(tmp_path / "a.mp4", QUIET_LOUD)
    (prediction,), _ = predict(
        bundle(calibrated=False, frames=3), [path], annotate=tmp_path / "x.mp4", overlays=tmp_path / "o"
    )
    assert (prediction.alarms, prediction.threshold, prediction.is_anomalous) == (None, None, None)
    assert np.isnan(prediction.table.p_value).all() and np.isnan(prediction.table.verdict).all()
    assert len(decoded(prediction.annotated)) == 44 and list(prediction.overlays) == [18]
    (prediction,), _ = predict(bundle(calibrated=False), [path], threshold=210)
    assert [alarm.start for alarm in alarms(prediction)] == [18]


def test_a_truncated_video_gives_the_frames_it_has(tmp_path):
    whole = write(tmp_path / "a.mkv", QUIET_LOUD * 3, gop=5)
    (prediction,), predictor = predict(bundle(), [cut(whole, tmp_path / "b.mkv", 0.5)], annotate=tmp_path / "x.mp4")
    frames = len(prediction.table.score)
    assert 10 < frames < 132 and len(decoded(prediction.annotated)) == frames
    assert any("truncated" in warning for warning in prediction.warnings) and predictor.skipped == []


def test_bad_videos_stop_or_are_left_out_and_leave_no_file(tmp_path):
    good = write(tmp_path / "c.mp4", QUIET_LOUD[:5])
    (tmp_path / "b.mp4").write_bytes(b"no video")
    folder = tmp_path / "a"
    folder.mkdir()
    for index in range(12):
        Image.new("RGB", (48, 32)).save(folder / f"{index}.png")
    (folder / "9.png").write_bytes(b"no picture")
    paths = [folder, tmp_path / "b.mp4", good]
    with pytest.raises(VideoError, match=r"9\.png"):
        predict(bundle(), paths, annotate=tmp_path / "x")
    assert not (tmp_path / "x").exists()
    predictions, predictor = predict(bundle(), paths, annotate=tmp_path / "x", on_error="skip")
    assert [prediction.item.path for prediction in predictions] == [good]
    assert [bad.path for bad in predictor.skipped] == [folder, tmp_path / "b.mp4"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["c.mp4"]


def test_frame_folders_have_the_clock_they_are_given(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, value in enumerate(QUIET_LOUD):
        Image.new("RGB", (48, 32), (value,) * 3).save(folder / f"{index}.png")
    (prediction,), _ = predict(bundle(), [folder], overlays=tmp_path / "o", annotate=tmp_path / "x.mp4")
    assert prediction.assumed_fps == 25 and prediction.seconds == pytest.approx(44 / 25)
    assert np.isnan(prediction.table.time_s).all(), "the table holds what is known"
    assert bounds(prediction) == pytest.approx([10 / 25, 44 / 25]), "less than a second apart at this rate"
    assert list(prediction.overlays) == [alarm.peak for alarm in alarms(prediction)] == [18]
    assert [when for when, _ in decoded(prediction.annotated)] == pytest.approx(np.arange(44) / 25, abs=1e-4)
    (prediction,), _ = predict(bundle(), [folder], fps=10)
    assert prediction.seconds == pytest.approx(4.4)
    assert [alarm.start_s for alarm in alarms(prediction)] == pytest.approx([1.0, 4.0])


def test_a_video_too_short_for_a_clip_says_why(tmp_path):
    (prediction,), _ = predict(bundle(frames=3), [write(tmp_path / "a.mp4", [9, 9])], annotate=tmp_path / "x.mp4")
    assert prediction.peak is None and alarms(prediction) == [] and prediction.is_anomalous is None
    assert [why for _, _, why in prediction.table.reason] == ["no full window"]
    assert len(decoded(prediction.annotated)) == 2


def test_only_the_frames_still_needed_are_kept(tmp_path, monkeypatch):
    waiting = []

    class Watched(verb.FrameStream):
        def add_scores(self, scored):
            yield from super().add_scores(scored)
            waiting.append(len(self._frames))

    monkeypatch.setattr(verb, "FrameStream", Watched)
    path = write(tmp_path / "a.mp4", QUIET_LOUD * 8)
    predict(bundle(frames=3), [path], annotate=tmp_path / "x.mp4", workers=2)
    assert max(waiting) <= verb._IN_FLIGHT * 4 + 3


def test_large_frames_are_scored_in_smaller_batches(tmp_path):
    with open_video(write(tmp_path / "a.mp4", [9])) as reader:
        info = reader.info
    assert verb._batch_size(16, None) == verb._batch_size(16, info) == 16
    object.__setattr__(info, "size", (2160, 3840))
    assert verb._batch_size(16, info) == 2


def test_where_annotated_videos_go(tmp_path):
    single, pair = {tmp_path / "a.avi": "a"}, {tmp_path / "a.avi": "a", tmp_path / "b/a.avi": "b/a"}
    assert annotated_paths(None, pair) == {}
    assert annotated_paths(tmp_path / "o.MP4", single) == {tmp_path / "a.avi": tmp_path / "o.MP4"}
    assert list(annotated_paths(tmp_path / "o", pair).values()) == [tmp_path / "o/a.mp4", tmp_path / "o/b/a.mp4"]
    with pytest.raises(UsageError, match="one file for 2 videos; name a folder"):
        annotated_paths(tmp_path / "o.mp4", pair)
    with pytest.raises(UsageError, match=r"expected a name that ends in \.mp4"):
        annotated_paths(tmp_path / "o.avi", single)


def test_options_that_do_not_apply_are_refused(tmp_path):
    path, picture = write(tmp_path / "a.mp4", [9]), tmp_path / "p" / "a.png"
    picture.parent.mkdir()
    Image.new("RGB", (48, 32)).save(picture)

    def resolve(name, **options):
        return items_to_predict([str(name)], PredictConfig(**options), bundle())

    for option in ({"annotate": tmp_path / "x.mp4"}, {"every": "1s"}, {"hold": True}, {"fps": 5}):
        with pytest.raises(UsageError, match=f"--{next(iter(option))} is for videos"):
            resolve(picture, **option)
    with pytest.raises(UsageError, match="--merge-gap is for videos"):
        resolve(picture, rules={"merge_gap": "2s"})
    with pytest.raises(UsageError, match="these files state their frame rate"):
        resolve(path, fps=5)
    for target in (path, tmp_path):
        with pytest.raises(UsageError, match=r"would overwrite the input"):
            resolve(path, annotate=target)


def test_clips_have_a_row_each_with_their_class(fit_clips, evaluate_clips, actions, tmp_path, capsys):
    run = fit_clips()
    config = PredictConfig(device="cpu")
    items = items_to_predict([str(actions)], config, run.bundle)
    predictions = list(Predictor(run.bundle, config).over(items))
    assert len(predictions) == len(items) == 35
    assert {prediction.item.class_name for prediction in predictions} == {*NORMAL, "Lifting", "Walk-Front"}
    table = evaluate_clips(run.path)[0].table
    evaluated = {item.name: table.score[item.rows.start] for item in table.items}
    assert len({prediction.table.score[0] for prediction in predictions}) > 10
    for prediction in predictions:
        (score,) = prediction.table.score
        assert any(score == pytest.approx(value, rel=1e-4) for value in evaluated.values())
        assert prediction.is_anomalous == (score > run.bundle.calibration.threshold) and prediction.alarms is None
    csv_file = tmp_path / "out.csv"
    arguments = ["predict", str(run.path), str(actions / "Lifting"), "--csv", str(csv_file), "--device", "cpu"]
    assert program(arguments) == 0
    assert [item.class_name for item in read_table(csv_file, Unit.CLIP).items] == ["Lifting"] * 5
    capsys.readouterr()
    assert program(["predict", str(run.path), str(actions), "--json", "--threshold=-1", "--exit-code"]) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["verdict"] for line in lines} == {"anomalous"} and {line["unit"] for line in lines} == {"clip"}
    assert program(["predict", str(run.path), str(actions), "--annotate", str(tmp_path / "a.mp4")]) == 2
    assert "one score per clip" in capsys.readouterr().err


def test_the_run_tells_a_class_with_a_folder_for_each_clip_from_a_tree_of_classes(fit_clips, actions, tmp_path):
    run = fit_clips()
    for name in ("Run-Side", "Kicking-Front", "Juggling"):
        for number, clip in enumerate(sorted((actions / "Run-Side").glob("*/*.*"))[:2]):
            folder = tmp_path / "more" / name / f"{'ab'[number]}-morning"
            folder.mkdir(parents=True)
            shutil.copy(clip, folder)

    def classes(name):
        items = items_to_predict([str(tmp_path / "more" / name)], PredictConfig(), run.bundle)
        return sorted(item.class_name for item in items)

    assert classes("Run-Side") == ["Run-Side"] * 2
    assert classes("Kicking-Front") == ["Kicking"] * 2
    assert classes("Juggling") == ["a-morning", "b-morning"], "the run does not know it: a tree of two classes"
    assert classes(".") == ["Juggling"] * 2 + ["Kicking"] * 2 + ["Run-Side"] * 2
