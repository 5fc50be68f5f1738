"""A tree that is not only normal images is refused with what it contains and the options that read it."""

import shlex

import pytest
from PIL import Image

from offnormal.data.layouts.folder import FolderLayout, from_folders
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import write_video
from tests.data.tree import draw


def advised(error):
    """The options of `open_datasets` that a message advises."""
    line = str(error.value).partition("with: ")[2].partition(". If all")[0]
    words = shlex.split(line)
    options = dict(zip((word.removeprefix("--").replace("-", "_") for word in words[::2]), words[1::2], strict=True))
    from pathlib import Path

    return {
        name: Path(value) if name in ("data", "normal", "test", "masks") else value for name, value in options.items()
    }


MIXED = {  # tree -> what the advised options read: training, test normal, test anomalous, masks
    ("gut/1.png", "gut/2.png", "schlecht/1.png"): (2, 0, 1, 0),
    ("Train/Normal/1.png", "Test/Normal/1.png", "Test/Kratzer/1.png", "Masken/Kratzer/1.png"): (1, 1, 1, 1),
    ("Entrenamiento/1.png", "Prueba/bueno/1.png", "Prueba/malo/1.png"): (1, 1, 1, 0),
    ("学習/良品/1.png", "テスト/良品/1.png", "テスト/不良/1.png", "マスク/不良/1.png"): (1, 1, 1, 1),
    ("训练/1.png", "测试/正常/1.png", "测试/异常/1.png"): (1, 1, 1, 0),
    ("part a/train/ok images/1.png", "part a/test/ok images/1.png", "part a/test/ng/1.png"): (1, 1, 1, 0),
    ("lot/1.png", "lot/2.png", "lot/2_GT.png"): (2, 0, 0, 0),
    ("train/fine/1.png", "valid/1.png"): (1, 0, 0, 0),
}


@pytest.mark.parametrize("option", ["data", "normal"])
@pytest.mark.parametrize(("names", "counts"), MIXED.items())
def test_the_advised_options_read_the_tree(names, counts, option, tmp_path):
    root = draw(tmp_path / "a set", *names)
    with pytest.raises(DataError, match="expected only normal images") as error:
        open_datasets(**{option: root})
    options = advised(error)
    (dataset,) = open_datasets(options.pop("data", None), **options)
    labels = [item.label for item in dataset.test]
    masks = sum(item.masks is not None for item in dataset.test)
    assert (len(dataset.train), labels.count(0), labels.count(1), masks) == counts


@pytest.mark.parametrize(
    "names",
    [
        ("1.png", "deep/er/Masks/1.png"),
        ("1.png", "lot/étiquettes/1.png"),
        ("a/good/1.png", "b/2.png"),
        ("good/1.png", "2.png"),
        ("lot 1/2024/test/3.png",),
        ("1.png", "1_mask.png"),
        ("lot 1/1.png", "lot 1/NG_front/1.png"),
        ("lot1/1.png", "lot1_bad/1.png"),
        ("partA/1.png", "brokenParts/1.png"),
        ("1.png", "testset/1.png"),
        ("img_1.png", "img_2_NG.png"),
    ],
)
def test_one_name_at_any_depth_is_enough(names, tmp_path):
    root = draw(tmp_path, *names)
    assert not FolderLayout.recognizes(root)
    for read in (lambda: FolderLayout.read(root), lambda: from_folders(normal=root), lambda: open_datasets(root)):
        with pytest.raises(DataError, match="expected only normal images"):
            read()


def test_masks_with_the_names_of_jpegs_are_seen_by_their_content(tmp_path):
    for index in range(3):
        Image.linear_gradient("L").save(tmp_path / f"{index}.jpg")
        Image.new("L", (256, 256)).save(tmp_path / f"{index}.png")
    with pytest.raises(DataError, match="3 files and 3 masks beside them") as error:
        open_datasets(tmp_path)
    (dataset,) = open_datasets(**advised(error))
    assert [item.path.suffix for item in dataset.train] == [".jpg"] * 3
    for index in range(3):
        Image.linear_gradient("L").save(tmp_path / f"{index}.png")
    assert len(open_datasets(tmp_path)[0].train) == 6


@pytest.mark.parametrize(
    "names", [("good/1.png",), ("lot 1/ok/1.png", "lot 2/OK/1.png"), ("a_gt.png", "b.png"), ("good_1/ng 1.png",)]
)
def test_names_that_agree_with_normal_are_accepted(names, tmp_path):
    assert len(open_datasets(draw(tmp_path / "test", *names))[0].train) == len(names)


def test_the_named_folder_itself_may_have_any_name(tmp_path):
    root = draw(tmp_path, "train/bad/masks/1.png")
    assert len(open_datasets(normal=root / "train/bad/masks")[0].train) == 1


def test_bad_images_among_others_are_named(tmp_path):
    root = draw(tmp_path, "ok_1.png", "ok_2.png", "NG_3.png", "kratzer-4.png")
    with pytest.raises(
        DataError, match=r"anomalous by name: kratzer-4\.png, NG_3\.png\nMove the normal ones to a folder"
    ):
        open_datasets(root)


def test_photos_of_labels_are_normal_images(tmp_path):
    (tmp_path / "label_printer").mkdir()
    Image.linear_gradient("L").save(tmp_path / "label_printer/1.png")
    assert len(open_datasets(tmp_path)[0].train) == 1


def test_a_named_layout_reads_all_with_a_warning(tmp_path, caplog):
    root = draw(tmp_path, "lot/1.png", "test/2.png")
    assert len(open_datasets(normal=root, layout="folder")[0].train) == 2
    assert "test: 1 file (test)" in caplog.text and "used as normal" in caplog.text


def test_videos_of_other_classes_are_refused(tmp_path):
    for name in ("walk/1.mp4", "abnormal/2.mp4"):
        write_video(tmp_path / name)
    for options in ({"data": tmp_path}, {"normal": tmp_path}):
        with pytest.raises(DataError, match=r"abnormal: 1 file \(anomalous\)(.|\n)*--anomalous-class abnormal"):
            open_datasets(**options)
    assert len(open_datasets(normal=tmp_path, layout="videos")[0].train) == 2
    with pytest.raises(DataError, match="expected only normal videos"):
        open_datasets(normal=tmp_path, layout="videos", accepts_mixed=False)


def test_a_long_tree_is_cut(tmp_path):
    root = draw(tmp_path, *(f"{number}/good/1.png" for number in range(20)), "defects/1.png")
    with pytest.raises(DataError, match=r"\.\.\. and 9 more folders"):
        open_datasets(root)
