import doctest
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from offnormal.data import resolve
from offnormal.data.resolve import resolve_items, unique_names
from offnormal.errors import DataError, UsageError
from tests.data.idx_files import write_idx


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(resolved, root):
    return [path.relative_to(root).as_posix() for path in resolved]


def images(inputs):
    """Paths of the items named, all of which are images."""
    items = resolve_items(inputs)
    assert not any(item.is_video for item in items)
    assert [item.name for item in items] == [item.address for item in items]
    return [item.path for item in items]


def test_doctests():
    assert doctest.testmod(resolve).failed == 0


# --- images -----------------------------------------------------------------------------------------------------


def test_files_folders_and_globs_resolve_to_images_in_order(tmp_path):
    make(tmp_path, "b/1.png", "a/2.png", "a/10.png", "a/10.txt", "c d/ä ö.png")
    resolved = images([tmp_path / "b/1.png", tmp_path / "c d", f"{tmp_path}/a/*"])
    assert names(resolved, tmp_path) == ["b/1.png", "c d/ä ö.png", "a/2.png", "a/10.png"]


def test_a_named_file_is_an_image_whatever_its_name(tmp_path):
    make(tmp_path, "frame.raw", ".hidden.png")
    assert names(images([tmp_path / "frame.raw", tmp_path / ".hidden.png"]), tmp_path) == ["frame.raw", ".hidden.png"]


def test_recursive_globs_skip_hidden_files(tmp_path):
    make(tmp_path, "1.png", "a/2.png", "a/b/3.png", "a/._2.png", "a/.x/4.png")
    assert names(images([f"{tmp_path}/**/*.png"]), tmp_path) == ["1.png", "a/2.png", "a/b/3.png"]
    assert names(images([f"{tmp_path}/**"]), tmp_path) == ["1.png", "a/2.png", "a/b/3.png"]


def test_a_glob_searches_matching_folders(tmp_path):
    make(tmp_path, "lot1/1.png", "lot2/x/1.png", "other/1.png")
    assert names(images([f"{tmp_path}/lot*"]), tmp_path) == names(
        images([tmp_path / "lot1", tmp_path / "lot2"]), tmp_path
    )


@pytest.mark.parametrize("outputs", ["part [1].png", "part [1]*.png", "lot [a]/*.png", "lot [a]", "lot [[]a]/*.png"])
def test_brackets_in_real_names(tmp_path, outputs):
    make(tmp_path, "part [1].png", "lot [a]/2.png")
    assert len(images([tmp_path / outputs])) == 1


def test_a_character_set_has_priority_over_literal_brackets(tmp_path):
    make(tmp_path, "x1.png", "x2.png", "x[12]y.png")
    assert names(images([f"{tmp_path}/x[12].png"]), tmp_path) == ["x1.png", "x2.png"]


@pytest.mark.skipif(os.sep == "\\", reason="backslashes are separators here")
def test_windows_paths_are_resolved(tmp_path, monkeypatch):
    make(tmp_path, "a/b/1.png", "a/b/2.png", "a/c [1]/3.png")
    monkeypatch.chdir(tmp_path)
    for outputs, expected in (
        ("a\\b\\1.png", ["a/b/1.png"]),
        ("a\\b", ["a/b/1.png", "a/b/2.png"]),
        ("a\\b\\*.png", ["a/b/1.png", "a/b/2.png"]),
        ("a\\c [1]\\*.png", ["a/c [1]/3.png"]),
        ("a\\**\\*.png", ["a/b/1.png", "a/b/2.png", "a/c [1]/3.png"]),
    ):
        assert [path.as_posix() for path in images([outputs])] == expected


@pytest.mark.skipif(os.sep == "\\", reason="no name holds a backslash here")
def test_a_name_with_a_backslash_is_unchanged(tmp_path):
    make(tmp_path, "a\\1.png", "a/1.png")
    assert images([f"{tmp_path}/a\\1.png"]) == [tmp_path / "a\\1.png"]
    assert images([f"{tmp_path}/a\\*.png"]) == [tmp_path / "a\\1.png"]


def test_every_file_is_resolved_once(tmp_path, monkeypatch):
    make(tmp_path, "a/1.png", "a/2.png")
    monkeypatch.chdir(tmp_path)
    resolved = images(["a/2.png", "a", "./a/*.png", tmp_path / "a/1.png", "a/../a/2.png"])
    assert [path.as_posix() for path in resolved] == ["a/2.png", "a/1.png"]


@pytest.mark.parametrize("name", ["nothing.png", "no/*.png", "empty", "notes/*", "", "no[1].png"])
def test_a_name_that_matches_nothing_is_an_error(tmp_path, monkeypatch, name):
    make(tmp_path, "notes/a.txt", "here.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no image; expected") as error:
        images(["here.png", name])
    assert name in str(error.value)


def test_names_that_are_not_unicode_are_resolved(tmp_path):
    try:
        make(tmp_path, os.fsdecode(b"l\xe4ufer.png"))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert len(images([tmp_path])) == 1


def test_an_idx_file_resolves_to_its_images_and_a_number_to_one(tmp_path):
    file = write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.zeros((3, 4, 5)))
    assert images([file]) == [file / "0", file / "1", file / "2"]
    assert images([f"{file}/1"]) == [file / "1"]
    with pytest.raises(DataError, match="no image"):
        images([file.with_name("b-images-idx3-ubyte") / "1"])


def test_output_images_are_skipped_and_inputs_are_never_overwritten(tmp_path):
    make(tmp_path, "new/1.png", "new/out/1.png")
    out = tmp_path / "new/out"
    resolved = resolve_items([tmp_path / "new"], output_paths=[out])
    assert [item.path for item in resolved] == [tmp_path / "new/1.png"]
    refused = ((["new"], "new"), (["new/*.png"], "new"), (["new/out"], "new/out"), (["new/out/1.png"], "new"))
    for inputs, outputs in refused:
        with pytest.raises(UsageError, match="contains the input images; choose another output folder"):
            resolve_items([tmp_path / name for name in inputs], output_paths=[tmp_path / outputs])
    make(tmp_path, "old/1.png", "only/out/1.png")
    for inputs, outputs in ((["old", "new"], "old"), (["only"], "only/out")):
        with pytest.raises(UsageError, match="contains the input images"):
            resolve_items([tmp_path / name for name in inputs], output_paths=[tmp_path / outputs])


def test_kind_chooses_between_images_and_videos(tmp_path):
    make(tmp_path, "1.png", "a.mp4")
    assert [item.path.name for item in resolve_items([tmp_path], kind="image")] == ["1.png"]
    with pytest.raises(UsageError, match="is a video and"):
        resolve_items([tmp_path])


# --- videos -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """Two cameras with videos, a folder of loose images and one of two folders of frames."""
    for name in ("cams/b/10.mp4", "cams/b/2.MP4", "cams/a/1.avi", "cams/.old/0.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for name in ("loose/1.png", "frames/one/1.png", "frames/two/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def resolved(tree, *names, kind="video", **more):
    items = resolve_items([tree / name for name in names], kind=kind, **more)
    return [item.path.relative_to(tree).as_posix() for item in items]


def test_files_folders_and_globs_resolve_to_videos_in_order(tree):
    assert resolved(tree, "cams") == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    assert resolved(tree, "cams/b/10.mp4", "cams") == ["cams/b/10.mp4", "cams/a/1.avi", "cams/b/2.MP4"]
    assert resolved(tree, "cams/*/*.*") == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    shutil.copy(tree / "cams/b/10.mp4", tree / "lot [1].mp4")
    assert resolved(tree, "lot [1]*") == ["lot [1].mp4"]


def test_images_are_not_videos(tree):
    assert resolved(tree, "loose", "loose/1.png", "frames", "nothing here/*.png", "no.png") == []


@pytest.mark.parametrize("names", [("cams", "loose"), ("loose/1.png", "cams/a/1.avi"), (".",), ("*/*",)])
def test_images_together_with_videos_are_rejected(tree, names):
    with pytest.raises(UsageError, match=r"is a video and .* is an image; use separate calls"):
        resolved(tree, *names)


def test_frame_folders_are_videos_with_as_video(tree):
    assert resolved(tree, "frames", as_video=True) == ["frames/one", "frames/two"]
    assert resolved(tree, "loose", "cams", as_video=True) == ["loose", "cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    (tree / "film").write_bytes(b"x")
    assert resolved(tree, "film", as_video=True) == ["film"]
    with pytest.raises(DataError, match="an image; --as-video expects the folder"):
        resolved(tree, "loose/1.png", as_video=True)
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="no video; expected"):
        resolved(tree, "empty", as_video=True)


def test_with_as_video_a_glob_resolves_to_the_videos_among_images(tree):
    (tree / "loose/a.avi").write_bytes(b"x")
    assert resolved(tree, "loose/*", as_video=True) == ["loose/a.avi"]


def test_output_files_are_skipped(tree):
    shutil.copytree(tree / "loose", tree / "cams/b/peaks")
    shutil.copy(tree / "cams/a/1.avi", tree / "cams/out.mp4")
    outputs = [tree / "cams/b/peaks", tree / "cams/out.mp4"]
    assert resolved(tree, "cams", output_paths=outputs) == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    assert resolved(tree, "cams/out.mp4", output_paths=outputs) == ["cams/out.mp4"]


def test_videos_are_detected_and_named_relative_to_their_common_folder(tree):
    items = resolve_items([tree / "cams"])
    assert all(item.is_video and item.label is item.group is item.class_name is None for item in items)
    assert [item.name for item in items] == ["a/1", "b/2", "b/10"]


def test_names_for_output_files_are_unique(tmp_path):
    make(tmp_path, "a/x.avi", "a/x.mp4", "a/y.mp4")
    assert list(unique_names(sorted((tmp_path / "a").iterdir())).values()) == ["x.avi", "x.mp4", "y"]
    assert unique_names([]) == {}


# --- clips ------------------------------------------------------------------------------------------------------


def clips(*inputs, **more):
    items = resolve_items(inputs, wants_clips=True, **more)
    assert all(item.is_video for item in items)
    return [(item.name, item.class_name, item.group) for item in items]


def test_a_tree_of_class_folders(tmp_path):
    make(tmp_path, "run/1.mp4", "run/1_aug2.mp4", "walk/monday/a.mp4", "walk/tuesday/b.mp4")
    assert clips(tmp_path) == [
        ("run/1", "run", "run/1"),
        ("run/1_aug2", "run", "run/1"),
        ("walk/monday/a", "walk", "walk/monday"),
        ("walk/tuesday/b", "walk", "walk/tuesday"),
    ]


def test_views_of_an_action_of_ucf_sports_are_one_class(tmp_path):
    make(
        tmp_path,
        "Kicking-Front/001/a.avi",
        "Kicking-Front/001/jpeg/1.jpg",
        "Kicking-Side/001/b.avi",
        "Lifting/001/c.avi",
    )
    assert [class_name for _, class_name, _ in clips(tmp_path)] == ["Kicking", "Kicking", "Lifting"]
    assert [class_name for _, class_name, _ in clips(tmp_path / "Kicking-Side")] == ["Kicking"]


@pytest.mark.parametrize(
    ("folder", "known_classes", "expected"),
    [
        ("digits", (), ["digits", "digits"]),  # folders with numbers for names hold clips of one class
        ("digits", ("0", "1"), ["0", "1"]),
        ("days", (), ["mon", "tue"]),
        ("days", ("days",), ["days", "days"]),
        ("days", ("mon", "days"), ["mon", "tue"]),
    ],
)
def test_known_classes_distinguish_a_class_folder_from_a_tree_of_classes(tmp_path, folder, known_classes, expected):
    make(tmp_path, "digits/0/a.mp4", "digits/1/b.mp4", "days/mon/a.mp4", "days/tue/b.mp4")
    assert [class_name for _, class_name, _ in clips(tmp_path / folder, known_classes=known_classes)] == expected


def test_videos_of_one_folder_have_originals_but_no_class(tmp_path):
    make(tmp_path, "mix/kick.mp4", "mix/kick_flipped.mp4", "mix/deep/x.mp4")
    assert clips(tmp_path / "mix") == [
        ("kick", None, "mix/kick"),
        ("kick_flipped", None, "mix/kick"),
        ("deep/x", None, None),
    ]


def test_single_clips_are_named_once(tmp_path):
    make(tmp_path, "run/1.mp4", "walk/1.mp4")
    assert clips(tmp_path / "run/1.mp4", tmp_path / "run", tmp_path / "*/1.mp4") == [
        ("run/1", None, None),
        ("walk/1", None, None),
    ]


def test_frames_in_a_folder_next_to_a_clip_are_ignored(tmp_path):
    make(tmp_path, "001/a.avi", "001/jpeg/1.jpg")
    assert clips(tmp_path / "001") == [("a", None, "001/a")]


def test_images_are_not_clips(tmp_path):
    make(tmp_path, "1.png", "both/a.mp4", "both/1.png")
    with pytest.raises(UsageError, match="this detector scores clips"):
        clips(tmp_path / "1.png")
    with pytest.raises(UsageError, match="is a video and"):
        clips(tmp_path / "both")
    make(tmp_path, "frames/1.png", "frames/2.png")
    assert clips(tmp_path / "frames", as_video=True) == [("frames", None, None)]
