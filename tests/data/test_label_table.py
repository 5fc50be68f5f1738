import numpy as np
import pytest

from offnormal.data.label_table import read_label_table
from offnormal.errors import DataError
from tests.data.footage import clip, write_video
from tests.video_files import numbered
from tests.video_files import write_video as numbered_video


def table(folder, text, encoding="utf-8"):
    path = folder / "a.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "0\n1\n1\n",
        "label\n0\n1\n1",
        '"label"\r\n"0"\r\n"1"\r\n"1"\r\n',
        "0,1,1",
        "0 1 1\n",
        "0.0\n1.0\n1\n\n",
        " 0\n\t1\n1",
    ],
)
def test_one_label_per_frame(tmp_path, text):
    result = read_label_table(table(tmp_path, text), tmp_path / "not looked at")
    assert (result.dtype, result.tolist()) == (np.uint8, [0, 1, 1])


def test_a_byte_order_mark_is_ignored(tmp_path):
    assert read_label_table(table(tmp_path, "1\n0\n", "utf-8-sig"), tmp_path).tolist() == [1, 0]


@pytest.mark.parametrize("text", ["start,end\n1,2\n5,5\n", "Start; End\n1; 2\n5; 5\n", "start\tend\n5\t5\n1\t2\n"])
@pytest.mark.parametrize("video", ["folder", "file"])
def test_spans_of_frames_count_from_0_with_both_ends(tmp_path, text, video):
    video_path = clip(tmp_path / "01", 7) if video == "folder" else write_video(tmp_path / "01.mp4", 7)
    assert read_label_table(table(tmp_path, text), video_path).tolist() == [0, 1, 1, 0, 0, 1, 0]


def test_spans_of_seconds_follow_the_clock_of_the_video(tmp_path):
    video = write_video(tmp_path / "01.mp4", 10, fps=10)
    result = read_label_table(table(tmp_path, "start_s,end_s\n0.15,0.45\n0.8,60\n"), video)
    assert result.tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 1, 1]


def test_a_span_shorter_than_a_frame_marks_the_frame_that_is_on(tmp_path):
    video = write_video(tmp_path / "01.mp4", 10, fps=10)
    assert read_label_table(table(tmp_path, "start_s,end_s\n0.32,0.38\n0.95,0.99\n"), video).tolist() == [
        *(0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    ]


def test_a_span_in_a_jump_of_the_clock_is_refused(tmp_path):
    times = [i / 10 + 600 * (i >= 10) for i in range(20)]
    video = numbered_video(tmp_path / "jump.mkv", numbered(20), times=times, codec="mjpeg")
    assert sum(read_label_table(table(tmp_path, "start_s,end_s\n601.2,601.4\n"), video)) == 3
    with pytest.raises(
        DataError, match=r"line 2: no frame from 1\.2 to 1\.4 s, because .* jumps from 1\.0.* to 601\.0"
    ):
        read_label_table(table(tmp_path, "start_s,end_s\n1.2,1.4\n"), video)


@pytest.mark.parametrize("header", ["start,end", "start_s,end_s"])
def test_a_file_with_only_a_header_has_no_anomalous_frames(tmp_path, header):
    assert read_label_table(table(tmp_path, header), write_video(tmp_path / "01.mp4", 4)).tolist() == [0, 0, 0, 0]


def test_frames_in_a_folder_have_no_clock(tmp_path):
    with pytest.raises(DataError, match="without one; use start,end"):
        read_label_table(table(tmp_path, "start_s,end_s\n1,2\n"), clip(tmp_path / "01", 3))


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("0\n2\n", 2, "expected one 0 or 1 per frame"),
        ("0\nyes\n", 2, "expected one 0 or 1"),
        ("0\n\n1,0\n", 3, "expected one 0 or 1"),
        ("frame,label\n0,1\n", 1, "header start,end"),
        ("start,end\n3,1\n", 2, "a start and an end"),
        ("start,end\n-1,1\n", 2, "0 or above"),
        ("start,end\n1\n", 2, "a start and an end"),
        ("start,end\n1,nan\n", 2, "a start and an end"),
        ("start,end\n0.5,1\n", 2, "integers, or the header start_s,end_s"),
        ("start,end\n0,1\n2,6\n", 3, r"frames 2 to 6 \(from 0\), but the video has 6 frames"),
        ("start_s,end_s\n9,10\n", 2, "starts at 9 s, but the video ends at 0.6"),
    ],
)
def test_invalid_lines_are_reported_by_number(tmp_path, text, line, expected):
    with pytest.raises(DataError, match=rf"a\.csv, line {line}: .*{expected}"):
        read_label_table(table(tmp_path, text), write_video(tmp_path / "01.mp4", 6))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"])
def test_empty_files_and_other_encodings(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv: (empty|cannot be read as text)"):
        read_label_table(tmp_path / "a.csv", tmp_path)
