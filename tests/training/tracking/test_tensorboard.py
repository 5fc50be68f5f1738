"""Event files, read by TensorBoard."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from offnormal.training.tracking.tracker import Point, RunInfo

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture
def info(tmp_path):
    return RunInfo(folder=tmp_path, project="p", name="n")


def open_tracker(info, ident=None):
    from offnormal.training.tracking.tensorboard import TensorBoard

    return TensorBoard(info, ident)


def read_events(info):
    events = accumulator.EventAccumulator(str(info.folder / "tensorboard"))
    events.Reload()
    return events


def png():
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_all_values_are_stored(info):
    tracker = open_tracker(info)
    tracker.configure({"size": "16", "detector": {"name": "plain"}})
    tracker.log_points([Point(step, 1000.0 + step, {"train/g/loss": 1 / step}) for step in (1, 2, 3)])
    tracker.log_summary({"evaluation/image_AUROC": 0.75, "evaluation/data": "parts"}, 3)
    tracker.log_image("curves/g", png(), 3)
    tracker.close(failed=False)
    events = read_events(info)
    losses = events.Scalars("train/g/loss")
    assert [(scalar.step, scalar.wall_time, scalar.value) for scalar in losses] == [
        (1, 1001.0, 1.0), (2, 1002.0, 0.5), (3, 1003.0, pytest.approx(1 / 3)),
    ]  # fmt: skip
    assert [(scalar.step, scalar.value) for scalar in events.Scalars("evaluation/image_AUROC")] == [(3, 0.75)]
    (text,) = events.Tensors("configuration/text_summary")
    assert text.tensor_proto.string_val[0] == b"    size: '16'\n    detector:\n      name: plain\n"
    (image,) = events.Images("curves/g")
    assert np.asarray(Image.open(io.BytesIO(image.encoded_image_string))).shape == (4, 6, 3)


def test_repeated_steps_replace_the_first_ones(info):
    first = open_tracker(info)
    first.log_points([Point(step, float(step), {"loss": 1.0}) for step in range(1, 6)])
    first.close(failed=True)
    again = open_tracker(info, first.ident)
    again.rewind(3)
    again.log_points([Point(step, 10.0 + step, {"loss": 2.0}) for step in (4, 5)])
    again.close(failed=False)
    assert [(scalar.step, scalar.value) for scalar in read_events(info).Scalars("loss")] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0),
    ]  # fmt: skip
