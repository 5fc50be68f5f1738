import doctest
import logging
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
import pytest

from offnormal.sources import recorder
from offnormal.sources.recorder import find_streams, start_time
from tests.items import video
from tests.video_files import write_video

NOON = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)


def rows(names, seconds=600.0, groups=(), **options):
    videos = [video(Path("footage") / name, name=name) for name in names]
    videos = [replace(item, group=group) for item, group in zip_longest(videos, groups)]
    return [(stream.rows, stream.gaps_s) for stream in find_streams(videos, [seconds] * len(videos), **options)]


def test_doctests():
    assert doctest.testmod(recorder).failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "cam1_20240101_120000.mp4",
        "cam1-2024-01-01T12-00-00.mkv",
        "2024-01-01 12.00.00.mov",
        "NVR_ch1_main_20240101120000_20240101121000.mp4",
        "VID_20240101_120000123.mp4",
        "20249999_999999_20240101_120000.ts",
    ],
)
def test_the_time_in_a_name(name):
    assert start_time(Path(name)) == NOON


@pytest.mark.parametrize("name", ["cam1.mp4", "20240101.mp4", "cam_2024010112000.mp4", "123456789012345678.mp4"])
def test_names_without_a_time(name):
    assert start_time(Path(name)) is None


def test_the_creation_time_of_a_container(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((32, 48, 3), np.uint8)] * 3)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "GH01.mp4"), "w") as target:
        target.metadata["creation_time"] = "2024-01-01T12:00:00.000000Z"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert start_time(tmp_path / "GH01.mp4") == NOON and start_time(tmp_path / "a.mp4") is None


def test_files_that_start_where_the_one_before_ends_are_one_stream(caplog):
    names = [f"{name}.mp4" for name in ("cam1_20240101_121003", "cam1_20240101_120000", "cam2_20240101_120000")]
    names.append("cam1_20240101_130000.mp4")
    with caplog.at_level(logging.WARNING):
        assert rows(names) == [((1, 0), (3.0,)), ((2,), ()), ((3,), ())]
    assert (
        "2 files are joined to one stream of 1200 s: footage/cam1_20240101_120000.mp4 to cam1_20240101" in caplog.text
    )


def test_overlaps_other_folders_and_videos_without_a_clock_are_not_joined():
    assert rows(["cam1_20240101_120000.mp4", "cam1_20240101_120500.mp4"]) == [((0,), ()), ((1,), ())]
    assert rows(["a/c_20240101_120000.mp4", "b/c_20240101_121000.mp4"]) == [((0,), ()), ((1,), ())]
    assert rows(["cam1_20240101_120000.mp4", "cam1_20240101_121000.mp4"], None) == [((0,), ()), ((1,), ())]


def test_groups_are_streams_in_order_of_time_with_gaps_of_known_length():
    names = ["cam1_20240101_130000.mp4", "cam1_20240101_120000.mp4", "b.mp4", "a.mp4"]
    assert rows(names, groups=["x", "x", "y", "y"]) == [((1, 0), (3000.0,)), ((3, 2), (None,))]


def test_short_files_are_joined_by_folder():
    names = ["seg10.mp4", "seg2.mp4", "seg1.mp4", "other/seg3.mp4"]
    assert rows(names, 10.0, short_s=60.0) == [((2, 1, 0), (None, None)), ((3,), ())]
    assert rows(names, 10.0) == [((0,), ()), ((1,), ()), ((2,), ()), ((3,), ())]
