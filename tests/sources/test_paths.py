import doctest
import os
import random
from pathlib import Path

import pytest

from offnormal.errors import DataError
from offnormal.sources import paths
from offnormal.sources.paths import as_written, expand, is_picture, natural_key, pictures_in


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(found, root):
    return [path.relative_to(root).as_posix() for path in found]


def test_doctests():
    assert doctest.testmod(paths).failed == 0


def test_numbers_sort_by_value_folder_by_folder():
    ordered = ["a/1.png", "a/2.png", "a/10.png", "a/b2/1.png", "a/b10/1.png", "B/1.png", "c/x9y2.png", "c/x9y10.png"]
    for seed in range(5):
        shuffled = random.Random(seed).sample(ordered, len(ordered))
        assert [path.as_posix() for path in sorted(map(Path, shuffled), key=natural_key)] == ordered


def test_equal_numbers_and_letters_still_have_one_order():
    tied = [Path(name) for name in ("1.png", "01.png", "001.png", "a.png", "A.png", "Straße.png", "strasse.png")]
    backwards = tied[::-1]
    assert sorted(tied, key=natural_key) == sorted(backwards, key=natural_key)
    assert len({natural_key(path) for path in tied}) == len(tied)


def test_names_of_digits_that_are_no_decimals_sort(tmp_path):
    assert sorted([Path("²x.png"), Path("٣.png"), Path("2.png")], key=natural_key)[0] == Path("2.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("a.JPEG", True), ("a.b.tif", True), ("._a.jpg", False), (".png", False), ("a.txt", False)],
)
def test_is_picture(name, expected):
    assert is_picture(Path(name)) is expected


def test_folders_are_searched_recursively_without_hidden_ones(tmp_path):
    make(tmp_path, "2.png", "10.png", "sub/deep/1.jpg", "._2.png", ".thumbs/1.png", "sub/.cache/1.png", "notes.txt")
    (tmp_path / "folder.png").mkdir()
    assert names(pictures_in(tmp_path), tmp_path) == ["2.png", "10.png", "sub/deep/1.jpg"]
    assert names(pictures_in(tmp_path, recursive=False), tmp_path) == ["2.png", "10.png"]


def test_a_folder_below_a_hidden_one_can_be_searched(tmp_path):
    make(tmp_path, ".data/good/1.png")
    assert names(pictures_in(tmp_path / ".data"), tmp_path) == [".data/good/1.png"]


def test_expand_takes_files_folders_and_globs_in_the_order_named(tmp_path):
    make(tmp_path, "b/1.png", "a/2.png", "a/10.png", "a/10.txt", "c d/ä ö.png")
    found = expand([tmp_path / "b/1.png", tmp_path / "c d", f"{tmp_path}/a/*"])
    assert names(found, tmp_path) == ["b/1.png", "c d/ä ö.png", "a/2.png", "a/10.png"]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path):
    make(tmp_path, "frame.raw", ".hidden.png")
    assert names(expand([tmp_path / "frame.raw", tmp_path / ".hidden.png"]), tmp_path) == ["frame.raw", ".hidden.png"]


def test_globs_with_stars_reach_all_depths_and_pass_over_hidden_files(tmp_path):
    make(tmp_path, "1.png", "a/2.png", "a/b/3.png", "a/._2.png", "a/.x/4.png")
    assert names(expand([f"{tmp_path}/**/*.png"]), tmp_path) == ["1.png", "a/2.png", "a/b/3.png"]
    assert names(expand([f"{tmp_path}/**"]), tmp_path) == ["1.png", "a/2.png", "a/b/3.png"]


def test_a_glob_searches_the_folders_it_finds_as_when_a_shell_expands_it(tmp_path):
    make(tmp_path, "lot1/1.png", "lot2/x/1.png", "other/1.png")
    assert names(expand([f"{tmp_path}/lot*"]), tmp_path) == names(
        expand([tmp_path / "lot1", tmp_path / "lot2"]), tmp_path
    )


@pytest.mark.parametrize("written", ["part [1].png", "part [1]*.png", "lot [a]/*.png", "lot [a]", "lot [[]a]/*.png"])
def test_brackets_in_real_names(tmp_path, written):
    make(tmp_path, "part [1].png", "lot [a]/2.png")
    assert len(expand([tmp_path / written])) == 1


def test_a_set_of_characters_comes_before_brackets_as_they_stand(tmp_path):
    make(tmp_path, "x1.png", "x2.png", "x[12]y.png")
    assert names(expand([f"{tmp_path}/x[12].png"]), tmp_path) == ["x1.png", "x2.png"]


@pytest.mark.skipif(os.sep == "\\", reason="backslashes are separators here")
def test_paths_written_on_windows_are_understood(tmp_path, monkeypatch):
    make(tmp_path, "a/b/1.png", "a/b/2.png", "a/c [1]/3.png")
    monkeypatch.chdir(tmp_path)
    for written, expected in (
        ("a\\b\\1.png", ["a/b/1.png"]),
        ("a\\b", ["a/b/1.png", "a/b/2.png"]),
        ("a\\b\\*.png", ["a/b/1.png", "a/b/2.png"]),
        ("a\\c [1]\\*.png", ["a/c [1]/3.png"]),
        ("a\\**\\*.png", ["a/b/1.png", "a/b/2.png", "a/c [1]/3.png"]),
    ):
        assert [path.as_posix() for path in expand([written])] == expected
    assert as_written("a\\b") == as_written(Path("a\\b")) == Path("a/b")


@pytest.mark.skipif(os.sep == "\\", reason="no name holds a backslash here")
def test_a_name_that_really_holds_a_backslash_is_left_alone(tmp_path):
    make(tmp_path, "a\\1.png", "a/1.png")
    assert expand([f"{tmp_path}/a\\1.png"]) == [tmp_path / "a\\1.png"]
    assert expand([f"{tmp_path}/a\\*.png"]) == [tmp_path / "a\\1.png"]
    assert as_written("no\\such") == Path("no\\such")


def test_every_file_comes_once_however_often_and_however_it_is_named(tmp_path, monkeypatch):
    make(tmp_path, "a/1.png", "a/2.png")
    monkeypatch.chdir(tmp_path)
    found = expand(["a/2.png", "a", "./a/*.png", tmp_path / "a/1.png", "a/../a/2.png"])
    assert [path.as_posix() for path in found] == ["a/2.png", "a/1.png"]


@pytest.mark.parametrize("name", ["nothing.png", "no/*.png", "empty", "notes/*", "", "no[1].png"])
def test_a_name_that_matches_nothing_is_an_error_that_names_it(tmp_path, monkeypatch, name):
    make(tmp_path, "notes/a.txt", "here.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nothing to read; expected") as error:
        expand(["here.png", name])
    assert name in str(error.value)


def test_names_that_are_not_unicode_are_found(tmp_path):
    try:
        make(tmp_path, os.fsdecode(b"l\xe4ufer.png"))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert len(expand([tmp_path])) == 1
