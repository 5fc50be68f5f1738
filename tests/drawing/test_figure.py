from __future__ import annotations

from offnormal.drawing.figure import annotate, new_axes, to_svg


def test_coordinates_are_shortened_but_not_text():
    figure, axes = new_axes(300, 200, x="score", y="share")
    axes.plot((0, 1.23456), (0, 2.34567))
    annotate(axes, 0.5, 0.5, "threshold 0.004512", color="ink")
    svg = to_svg(figure, "A plot")
    assert ">threshold 0.004512<" in svg
    path = svg[svg.index('<path d="') :].split('"')[1]
    assert path and all(len(number.partition(".")[2]) <= 2 for number in path.split())


def test_an_undecodable_name_can_be_drawn():
    figure, _ = new_axes(300, 200, x="score", y="share")
    assert "\udcff.mp4" in to_svg(figure, "Score of \udcff.mp4")
