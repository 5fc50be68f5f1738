import sys

import pyarrow
import pytest
from pyarrow import parquet

from offnormal.data.layouts.manifest import ManifestLayout, read_manifest
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data import published
from tests.data.footage import write_video
from tests.data.tree import draw


@pytest.fixture
def root(tmp_path):
    draw(tmp_path, "a.png", "b.png", "c.png", "ü/d.png")
    published.mask(tmp_path / "m.png")
    return tmp_path


def write(root, *lines, name="set.csv", encoding="utf-8"):
    file = root / name
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file


def splits(dataset):
    return [[item.name for item in items] for items in (dataset.train, dataset.calibration, dataset.test)]


def test_every_column(root):
    lines = ("a.png,normal,,l1,train", "b.png,0,,l2,val", "c.png,NG,m.png,l3,test", "ü/d.png,good,,,testing")
    (dataset,) = open_datasets(write(root, "address,label,mask,group,split", *lines))
    assert (dataset.name, dataset.layout, dataset.root) == ("set", "manifest", root)
    assert splits(dataset) == [["a.png"], ["b.png"], ["c.png", "ü/d.png"]]
    assert [(item.label, item.group) for item in dataset.test] == [(1, "l3"), (0, None)]
    assert dataset.test[0].masks.path == root / "m.png"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_other_orders_of_columns(root, separator, encoding):
    lines = [separator.join(cells) for cells in (("Label", "Address"), ("1", "b.png"), ("", ""), ("0", '"ü/d.png"'))]
    dataset = read_manifest(write(root, *lines, encoding=encoding))
    assert splits(dataset) == [["ü/d.png"], [], ["b.png"]]


def test_without_a_label_the_split_or_the_mask_decides(root):
    draw(root, "empty.png")
    lines = ("a.png,,train", "b.png,m.png,test", "c.png,empty.png,test", "ü/d.png,,test")
    dataset = read_manifest(write(root, "address,mask,split", *lines))
    assert [item.label for item in (*dataset.train, *dataset.test)] == [0, 1, 0, None]
    assert [item.masks is not None for item in dataset.test] == [True, False, False]


def test_paths_are_relative_to_the_manifest_or_absolute(root, monkeypatch):
    (root / "lists").mkdir()
    file = write(root, "address,label", "../a.png,normal", f"{root / 'b.png'},normal", name="lists/1.csv")
    monkeypatch.chdir(root / "lists")
    dataset = read_manifest(file)
    assert [item.path.resolve() for item in dataset.train] == [root / "a.png", root / "b.png"]
    assert not any(item.name.startswith(("/", "..")) for item in dataset.train)


def test_videos(root):
    for name in ("1.mp4", "2.mp4"):
        write_video(root / "cam" / name)
    (root / "cam/manifest.csv").write_text("address,label\n1.mp4,normal\n2.mp4,anomalous\n")
    (dataset,) = open_datasets(root / "cam")
    assert dataset.is_video and [item.label for item in dataset.test] == [1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", "a.png,0"], "columns path, label; expected a header with address, label, mask"),
        (["address,lable", "a.png,0"], "columns lable are unknown"),
        (["address,label,label", "a.png,0,1"], "a column occurs twice"),
        (["address,label"], "no rows"),
        (["address,label", "a.png,0", "gone.png,0"], r"row 3: address 'gone\.png': no such file; expected a path rel"),
        (["address,label", ",0"], "row 2: address '': no such file"),
        (["address,label", "a" * 5000 + ",0"], "row 2: address 'aaa.*: no such file"),
        (["address,label,mask", "a.png,1,gone.png"], r"row 2: mask 'gone\.png': no such file"),
        (["address,label", "a.png,maybe"], "row 2: label 'maybe': expected normal or anomalous"),
        (["address,split", "a.png,later"], "row 2: split 'later': expected train, test, or calibration"),
        (["address", "a.png"], "row 2: no label and no split"),
        (["address,label,split", "a.png,bad,train"], "row 2: anomalous, but in train"),
        (["address,label", "a.png,0", "./a.png,1"], r"row 3: \./a\.png is also in row 2"),
        (["address,label", "set.csv,0"], "expected an image, a video, or a folder of frames"),
        (["address,label", '"a.png,0'], r"row 2: (address|.*quot|unexpected)"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(root, lines, message):
    with pytest.raises(DataError, match=message):
        read_manifest(write(root, *lines))


def test_a_file_that_is_no_text_is_named(root):
    (root / "set.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match=r"set\.csv: cannot be read as text"):
        read_manifest(root / "set.csv")


def test_the_manifest_of_another_program_is_not_recognized(root):
    write(root, "file,sha256", name="manifest.csv")
    assert not ManifestLayout.recognizes(root)


def test_parquet(root):
    columns = {"address": ["a.png", "b.png"], "label": [0, 1], "group": [7, None]}
    parquet.write_table(pyarrow.table(columns), root / "set.parquet")
    (dataset,) = open_datasets(root / "set.parquet")
    assert splits(dataset) == [["a.png"], [], ["b.png"]]
    assert dataset.train[0].group == "7"
    names = pyarrow.array([b"a\xff.png"]).cast(pyarrow.binary())
    latin = pyarrow.StringArray.from_buffers(1, names.buffers()[1], names.buffers()[2])
    parquet.write_table(pyarrow.table({"address": latin}), root / "latin.parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_manifest(root / "latin.parquet")
    (root / "set.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_datasets(root / "set.parquet")


def test_parquet_without_pyarrow_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (root / "set.parquet").touch()
    with pytest.raises(DataError, match=r"pip install 'offnormal\[parquet\]'"):
        open_datasets(root / "set.parquet")


def test_quoted_cells_may_contain_separators_and_line_breaks(root):
    draw(root, "a, b\n1.png")
    dataset = read_manifest(
        write(root, "address,label,group", '"a, b\n1.png",normal,"day\x1c1"', "b.png,normal,", "", ",,")
    )
    assert [(item.name, item.group) for item in dataset.train] == [("a, b\n1.png", "day\x1c1"), ("b.png", None)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.png,normal,lot 1, front", r"row 4: 4 cells, the last 'front', under 3 columns"),
        ('"b.png,normal,\nc.png,normal', "row 4: unexpected end of data"),
        ('"b.png"x,normal,', "row 4: "),
    ],
)
def test_a_row_that_does_not_fit_the_header_is_named(root, row, message):
    file = write(root, "address,label,group", 'a.png,normal,"two\nlines",,', row)
    with pytest.raises(DataError, match=message):
        read_manifest(file)
