from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.drawing.panels import Reconstruction
from offnormal.report.block import Heading, Scale, Shots, Text
from offnormal.report.blocks.gallery import ShownUnit, gallery
from tests.evaluations import clip_evaluation, image_evaluation, shown_unit, street, video_evaluation


def sections(block):
    """(title, note, shots) of each section."""
    titles, notes, shots = (
        [element for element in block.elements if isinstance(element, kind)] for kind in (Heading, Text, Shots)
    )
    return [(title.text, note.text, units.shots) for title, note, units in zip(titles, notes, shots, strict=True)]


def test_images_have_a_section_for_each_role_with_how_many_there_are():
    evaluation = image_evaluation()
    confusion = evaluation.confusion
    above = [row for row in range(40, 61) if evaluation.table.score[row] > evaluation.threshold]
    below = [row for row in range(40, 61) if row not in above]
    units = [shown_unit(evaluation, "detected", above[0]), shown_unit(evaluation, "miss", below[0])]
    (missed, note, shots), (detected, _, _) = sections(gallery(evaluation, units))
    assert (missed, detected) == ("Missed", "Clearest detections")
    assert note == f"anomalous images below the threshold, lowest score first; 1 of {confusion.missed} shown"
    assert [picture.caption for picture in shots[0].images] == ["image", "heat map", "marked region"]
    score = evaluation.table.score[below[0]]
    kind, value, p_value = shots[0].about
    assert (
        kind == "crack"
        and value == f"score {score:#.4g} ({score / evaluation.threshold:.2f} \N{MULTIPLICATION SIGN} threshold)"
    )
    assert p_value == f"p-value {evaluation.table.p_value[below[0]]:.2g}"
    assert shots[0].name == f"crack/{below[0]:03}.png"


@pytest.mark.parametrize(("size", "is_small"), [((28, 28), True), ((200, 60), False)])
def test_small_images_are_in_narrow_columns(size, is_small):
    evaluation = image_evaluation()
    unit = shown_unit(evaluation, "miss", 45, has_mask=False, size=size)
    (shots,) = [element for element in gallery(evaluation, [unit]).elements if isinstance(element, Shots)]
    assert shots.is_small == is_small


def test_the_scale_is_there_where_there_are_maps():
    evaluation = image_evaluation()
    scale = gallery(evaluation, [shown_unit(evaluation, "miss", 45)]).elements[0]
    assert (
        isinstance(scale, Scale) and scale.threshold == f"pixel threshold {evaluation.calibration.pixel_threshold:#.4g}"
    )
    bare = gallery(evaluation, [shown_unit(evaluation, "miss", 45, has_map=False, has_mask=False)])
    assert not any(isinstance(element, Scale) for element in bare.elements)
    assert gallery(evaluation, []) is None
    clips = clip_evaluation()
    frames = gallery(clips, [shown_unit(clips, "miss", 6, frames=5)])
    assert not any(isinstance(element, Scale) for element in frames.elements), "frames of a clip have no heat map"


def test_where_none_was_judged_wrongly_the_closest_are_shown():
    evaluation = image_evaluation()
    normals = [shown_unit(evaluation, "false_alarm", row) for row in (3, 4)]
    ((title, note, _),) = sections(gallery(evaluation, normals))
    assert (title, note) == (
        "Normal images closest to the threshold",
        "no false alarm; highest score first",
    )


def test_of_clips_judged_wrongly_those_alone_are_shown():
    evaluation = clip_evaluation()
    units = [shown_unit(evaluation, "false_alarm", row, frames=3, has_map=False) for row in (5, 4)]
    ((title, note, shots),) = sections(gallery(evaluation, units))
    assert title == "False alarms" and note.endswith("; 1 of 1 shown")
    assert [shot.name for shot in shots] == ["run <1>/test-1"] and len(shots[0].images) == 3


def test_without_a_threshold_nothing_is_called_false_or_missed():
    evaluation = video_evaluation(calibration=None)
    units = [shown_unit(evaluation, "false_alarm", 8), shown_unit(evaluation, "miss", 60)]
    rows = sections(gallery(evaluation, units))
    assert [title for title, _, _ in rows] == [
        "Anomalous frames with the lowest scores",
        "Normal frames with the highest scores",
    ]
    assert all(
        len(shot.about) == 2 and "\N{MULTIPLICATION SIGN}" not in shot.about[1]
        for _, _, shots in rows
        for shot in shots
    )


def test_frames_have_their_time_and_alarms_are_counted():
    evaluation = video_evaluation()
    evaluation = replace(evaluation, alarms=replace(evaluation.alarms, spans=[]))
    reconstruction = Reconstruction(frame=np.zeros((40, 60, 3), np.uint8))
    units = [replace(shown_unit(evaluation, "miss", 475), reconstruction=reconstruction)]
    ((title, note, shots),) = sections(gallery(evaluation, units))
    assert (title, note) == ("Missed", "labeled spans without an alarm, at their highest frame; 1 of 0 shown")
    assert shots[0].name == "02 · 0:15 · frame 75" and shots[0].about[0] == "normal"
    captions = [picture.caption for picture in shots[0].images]
    assert captions == ["frame", "heat map", "marked region", "reconstruction", "difference, brightened"]
    assert shots[0].is_wide


def test_peaks_come_in_turns_of_the_videos():
    items = street(labeled=False)
    for item, scores in zip(items, ([9, 8, 7], [3, 2], []), strict=True):
        item.scores[10 : 10 + len(scores)] = scores
    evaluation = video_evaluation(items)
    rows = [10, 11, 12, 410, 411]
    ((_, _, shots),) = sections(gallery(evaluation, [shown_unit(evaluation, "peak", row) for row in reversed(rows)]))
    assert [shot.name.rpartition(" ")[2] + shot.name[:2] for shot in shots] == ["1001", "1002", "1101", "1102", "1201"]


def test_shots_are_capped_by_number_and_by_size():
    evaluation = video_evaluation()
    many = [shown_unit(evaluation, "peak", row) for row in range(10, 117)]
    ((_, note, shots),) = sections(gallery(evaluation, many))
    assert len(shots) == 16 and note.endswith("16 of 107 shown")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    large = [
        ShownUnit(role="peak", row=row, frames=(noise,), map=noise[..., 0].astype(np.float32)) for row in range(16)
    ]
    ((_, note, shots),) = sections(gallery(evaluation, large))
    assert 1 <= len(shots) < 16 and note.endswith(f"{len(shots)} of 16 shown")
    assert sum(len(picture.uri) for shot in shots for picture in shot.images) < 900_000


@pytest.mark.parametrize(("label", "word"), [(True, "normal"), (False, "no label")])
def test_a_unit_is_named_after_its_label(label, word):
    evaluation = video_evaluation(street(labeled=label))
    ((_, _, shots),) = sections(gallery(evaluation, [shown_unit(evaluation, "peak", 5)]))
    assert shots[0].about[0] == word
