"""Event files as TensorBoard reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from offnormal.training.tracking.tracker import About, Point

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture
def about(tmp_path):
    return About(folder=tmp_path, project="p", name="n")


def opened(about, ident=None):
    from offnormal.training.tracking.tensorboard import TensorBoard

    return TensorBoard(about, ident)


def read(about):
    found = accumulator.EventAccumulator(str(about.folder / "tensorboard"))
    found.Reload()
    return found


def png():
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_everything_is_read_back(about):
    made = opened(about)
    made.configure({"size": "16", "detector": {"name": "plain"}})
    made.points([Point(step, 1000.0 + step, {"train/g/loss": 1 / step}) for step in (1, 2, 3)])
    made.summary({"evaluation/image_AUROC": 0.75, "evaluation/data": "parts"}, 3)
    made.picture("curves/g", png(), 3)
    made.close(failed=False)
    found = read(about)
    losses = found.Scalars("train/g/loss")
    assert [(one.step, one.wall_time, one.value) for one in losses] == [
        (1, 1001.0, 1.0), (2, 1002.0, 0.5), (3, 1003.0, pytest.approx(1 / 3)),
    ]  # fmt: skip
    assert [(one.step, one.value) for one in found.Scalars("evaluation/image_AUROC")] == [(3, 0.75)]
    (text,) = found.Tensors("configuration/text_summary")
    assert text.tensor_proto.string_val[0] == b"    size: '16'\n    detector:\n      name: plain\n"
    (image,) = found.Images("curves/g")
    assert np.asarray(Image.open(io.BytesIO(image.encoded_image_string))).shape == (4, 6, 3)


def test_steps_taken_anew_replace_those_of_the_first_try(about):
    first = opened(about)
    first.points([Point(step, float(step), {"loss": 1.0}) for step in range(1, 6)])
    first.close(failed=True)
    again = opened(about, first.ident)
    again.rewind(3)
    again.points([Point(step, 10.0 + step, {"loss": 2.0}) for step in (4, 5)])
    again.close(failed=False)
    assert [(one.step, one.value) for one in read(about).Scalars("loss")] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0),
    ]  # fmt: skip
