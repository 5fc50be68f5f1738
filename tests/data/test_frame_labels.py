import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from offnormal.data.array_files import Archive
from offnormal.data.frame_labels import (
    check_label_count,
    labels_from_spans,
    mat_spans,
    memae_labels,
    parse_labels,
    read_labels,
    split_labels,
    ucsd_spans,
)
from offnormal.errors import DataError
from tests.data.footage import cells, clip, save_hdf5, write_video
from tests.video_files import cut, numbered
from tests.video_files import write_video as numbered_video


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float64])
@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1)])
def test_all_number_types_become_one_vector(dtype, shape):
    result = parse_labels(np.array([0, 1, 1, 0], dtype).reshape(shape), "x")
    assert (result.dtype, result.tolist()) == (np.uint8, [0, 1, 1, 0])


@pytest.mark.parametrize("values", [[0, 2], [0, -1], [0, 255], [0.0, 0.5], [0.0, np.nan]])
def test_other_values_are_named_with_their_frame(values):
    with pytest.raises(DataError, match=r"gt, 3: label \S+ at frame 1; expected 0"):
        parse_labels(np.array(values), "gt, 3")


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros((1, 1, 3)), np.array(["0", "1"]), np.zeros(())])
def test_other_shapes_and_types_are_rejected(values):
    with pytest.raises(DataError, match="expected one 0 or 1 per frame"):
        parse_labels(values, "x")


def test_labels_match_frames(tmp_path):
    folder, file = clip(tmp_path / "01", 5), write_video(tmp_path / "a.mp4", 5)
    assert len(check_label_count(np.zeros(5, np.uint8), folder, "x")) == 5
    with pytest.raises(DataError, match=r"gt: 4 labels for 5 frames in .*01"):
        check_label_count(np.zeros(4, np.uint8), folder, "gt")
    with pytest.raises(DataError, match=r"gt: 4 labels for 5 frames in .*a\.mp4"):
        check_label_count(np.zeros(4, np.uint8), file, "gt")
    with pytest.raises(DataError, match=r"gt: 6 labels for 5 frames in .*a\.mp4"):
        check_label_count(np.zeros(6, np.uint8), file, "gt")


VIDEOS = (
    ("mp4", "libx264", 2),
    ("ts", "libx264", 2),
    ("mpg", "mpeg2video", 2),
    ("avi", "mjpeg", 0),
    ("h264", "libx264", 0),
)


@pytest.mark.parametrize("form", ["npy", "csv"])
@pytest.mark.parametrize(("suffix", "codec", "bframes"), VIDEOS)
def test_one_label_too_few_or_too_many_is_refused_for_every_container(tmp_path, suffix, codec, bframes, form):
    """MPEG and bare streams do not state their number of frames."""
    file = numbered_video(tmp_path / f"a.{suffix}", numbered(30), codec=codec, bframes=bframes)
    for count in (29, 30, 31):
        labels = np.arange(count) % 2
        np.save(tmp_path / "a.npy", labels)
        (tmp_path / "a.csv").write_text("\n".join(map(str, labels)))
        if count == 30:
            assert read_labels(tmp_path / f"a.{form}", file).tolist() == labels.tolist()
            continue
        with pytest.raises(DataError, match=rf"a\.{form}: {count} labels for 30 frames in .*a\.{suffix}; expected one"):
            read_labels(tmp_path / f"a.{form}", file)


def test_a_truncated_file_keeps_the_labels_of_the_whole_video(tmp_path):
    whole = numbered_video(tmp_path / "a.mkv", numbered(80), codec="mjpeg")
    file = cut(whole, tmp_path / "b.mkv", 0.6)
    assert len(check_label_count(np.zeros(80, np.uint8), file, "x")) == 80
    with pytest.raises(DataError, match="10 labels for"):
        check_label_count(np.zeros(10, np.uint8), file, "x")


def test_labels_by_suffix(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 1, 1]]))
    (tmp_path / "a.csv").write_text("0\n1\n1\n")
    for name in ("a.npy", "a.csv"):
        assert read_labels(tmp_path / name, clip(tmp_path / "01", 3)).tolist() == [0, 1, 1]
        with pytest.raises(DataError, match="3 labels for 4 frames"):
            read_labels(tmp_path / name, clip(tmp_path / "02", 4))


@given(st.lists(st.lists(st.integers(0, 1), min_size=1), max_size=6))
def test_concatenated_labels_are_split_by_frame_counts(parts):
    whole = np.array([label for part in parts for label in part], np.uint8)
    assert [part.tolist() for part in split_labels(whole, [len(part) for part in parts], "x")] == parts


@pytest.mark.parametrize("number", [9, 11])
def test_too_many_and_too_few_concatenated_labels_are_rejected(number):
    with pytest.raises(DataError, match=rf"x: {number} labels for 10 frames in 2 test videos"):
        split_labels(np.zeros(number, np.uint8), [4, 6], "x")


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_spans_include_both_ends(case):
    frames, ends = case
    spans = [(min(pair), max(pair)) for pair in ends]
    expected = [int(any(first <= i <= last for first, last in spans)) for i in range(frames)]
    assert labels_from_spans(spans, frames, "x").tolist() == expected


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (2, 5)])
def test_spans_outside_the_video_are_rejected(span):
    with pytest.raises(DataError, match=rf"x: anomalous frames {span[0]} to {span[1]} .* has 5 frames"):
        labels_from_spans([span], 5, "x")


def test_the_ucsd_script_is_matched_statement_by_statement(tmp_path):
    (tmp_path / "UCSDped1.m").write_text(
        "TestVideoFile = {};\n% a remark\nTestVideoFile{end+1}.gt_frame = [60:152];\n"
        "TestVideoFile{end+1}.gt_frame = [5:90, 140:200]; % two\r\n\n"
        "TestVideoFile{3}.gt_frame=[ 7 9:10 ];\nTestVideoFile{end+1}.gt_frame = [];\n"
    )
    assert ucsd_spans(tmp_path / "UCSDped1.m") == [[(59, 151)], [(4, 89), (139, 199)], [(6, 6), (8, 9)], []]


@pytest.mark.parametrize(
    "line", ["system('rm -rf /');", "TestVideoFile{end+1}.gt_frame = [1:f(2)];", "TestVideoFile{end+1}.gt_frame = 1:5;"]
)
def test_other_statements_are_rejected_with_their_line(tmp_path, line):
    (tmp_path / "x.m").write_text(f"TestVideoFile = {{}};\n{line}\n")
    with pytest.raises(DataError, match=r"x\.m, line 2: .*; expected TestVideoFile"):
        ucsd_spans(tmp_path / "x.m")


def test_a_missing_script_is_named(tmp_path):
    with pytest.raises(DataError, match=r"x\.m: cannot be read"):
        ucsd_spans(tmp_path / "x.m")


@pytest.mark.parametrize("hdf5", [False, True])
def test_matlab_events_with_one_cell_per_video(tmp_path, hdf5):
    events = [np.array([[3, 9], [5, 10]], float), np.array([[1], [4]], float), np.zeros((0, 0))]
    if hdf5:
        save_hdf5(tmp_path / "ped.mat", "gt", events)
    else:
        savemat(tmp_path / "ped.mat", {"gt": cells(events)})
    assert mat_spans(tmp_path / "ped.mat", 3) == [[(2, 4), (8, 9)], [(0, 3)], []]
    with pytest.raises(DataError, match="labels of 3 videos for 4 test videos"):
        mat_spans(tmp_path / "ped.mat", 4)


@pytest.mark.parametrize(
    ("stored", "videos", "expected"),
    [
        ([[3, 1, 2], [5, 4, 2]], 3, [[(2, 4)], [(0, 3)], [(1, 1)]]),  # three videos of one event each
        ([[3, 7, 9], [5, 8, 9]], 1, [[(2, 4), (6, 7), (8, 8)]]),  # one video of three events
        ([[3], [5]], 1, [[(2, 4)]]),
        ([[3, 7], [5, 8]], 2, [[(2, 4)], [(6, 7)]]),
        ([[3, 5]], 1, [[(2, 4)]]),  # one event lying on its side
        ([[[3], [5]], [[7], [8]]], 2, [[(2, 4)], [(6, 7)]]),  # (V, 2, K)
    ],
)
def test_plain_matlab_arrays_of_events(tmp_path, stored, videos, expected):
    savemat(tmp_path / "x.mat", {"gt": np.array(stored)})
    assert mat_spans(tmp_path / "x.mat", videos) == expected


@pytest.mark.parametrize("cell", [np.zeros((3, 2)), np.array([[1.5], [3.0]])])
def test_matlab_events_of_another_shape_are_rejected(tmp_path, cell):
    savemat(tmp_path / "x.mat", {"gt": cells([cell])})
    with pytest.raises(DataError, match=r"expected integers \(2, K\)"):
        mat_spans(tmp_path / "x.mat", 1)


def test_memae_labels(tmp_path):
    savemat(tmp_path / "Video001.mat", {"l": np.array([[0, 0, 1]], np.uint8)})
    assert memae_labels(tmp_path / "Video001.mat").tolist() == [0, 0, 1]
    savemat(tmp_path / "Video002.mat", {"l": cells([np.ones((1, 2))])})
    with pytest.raises(DataError, match=r"Video002\.mat: 'l' is a cell array"):
        memae_labels(tmp_path / "Video002.mat")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "frames", "anomalous"), [("avenue", 15324, 3867), ("ped2", 2010, 1648), ("shanghai", 40791, 17326)]
)
def test_real_label_vectors(real_data, name, frames, anomalous):
    path = real_data / "video/labels_only" / f"frame_labels_{name}.npy"
    labels = read_labels(path, path)
    assert (labels.shape, labels.dtype, int(labels.sum())) == ((frames,), np.uint8, anomalous)


@pytest.mark.realdata
def test_real_ucsd_scripts_vectors_and_masks_agree(real_data):
    folder = real_data / "video/labels_only"
    assert len(ucsd_spans(folder / "UCSDped1.m")) == 36
    spans = ucsd_spans(folder / "UCSDped2.m")
    stored = Archive(folder / "ucsd_ped2_gt_masks.npz")
    names = sorted(name for name in stored.names if name.startswith("frame_labels"))
    by_mask = [parse_labels(stored.read(name), name) for name in names]
    by_script = [
        labels_from_spans(spans_of_clip, len(labels), "m") for spans_of_clip, labels in zip(spans, by_mask, strict=True)
    ]
    vector = read_labels(folder / "frame_labels_ped2.npy", folder / "UCSDped2.m")
    split = split_labels(vector, [len(labels) for labels in by_mask], "npy")
    for from_mask, from_script, from_vector in zip(by_mask, by_script, split, strict=True):
        np.testing.assert_array_equal(from_mask, from_script)
        np.testing.assert_array_equal(from_mask, from_vector)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_spans_that_are_not_finite_are_refused(tmp_path, value):
    savemat(tmp_path / "a.mat", {"gt": np.array([[1.0], [value]])})
    with pytest.raises(DataError, match="expected integers"):
        mat_spans(tmp_path / "a.mat", 1)
