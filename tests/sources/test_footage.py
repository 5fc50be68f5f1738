import shutil

import pytest
from PIL import Image

from offnormal.errors import DataError, UsageError
from offnormal.sources.footage import expand_videos


@pytest.fixture
def tree(tmp_path):
    """Two cameras with videos, a folder of loose pictures and one of two folders of frames."""
    for name in ("cams/b/10.mp4", "cams/b/2.MP4", "cams/a/1.avi", "cams/.old/0.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for name in ("loose/1.png", "frames/one/1.png", "frames/two/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def found(tree, *names, **more):
    return [path.relative_to(tree).as_posix() for path in expand_videos([tree / name for name in names], **more)]


def test_files_folders_and_globs_each_once_in_the_order_named(tree):
    assert found(tree, "cams") == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    assert found(tree, "cams/b/10.mp4", "cams") == ["cams/b/10.mp4", "cams/a/1.avi", "cams/b/2.MP4"]
    assert found(tree, "cams/*/*.*") == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    shutil.copy(tree / "cams/b/10.mp4", tree / "lot [1].mp4")
    assert found(tree, "lot [1]*") == ["lot [1].mp4"]


def test_pictures_alone_are_no_videos(tree):
    assert found(tree, "loose", "loose/1.png", "frames", "nothing here/*.png", "no.png") == []


@pytest.mark.parametrize("names", [("cams", "loose"), ("loose/1.png", "cams/a/1.avi"), (".",), ("*/*",)])
def test_pictures_beside_videos_are_refused(tree, names):
    with pytest.raises(UsageError, match=r"is a video and .* a picture: .* in calls of their own"):
        found(tree, *names)


def test_frame_folders_are_videos_when_asked_for(tree):
    assert found(tree, "frames", as_video=True) == ["frames/one", "frames/two"]
    assert found(tree, "loose", "cams", as_video=True) == ["loose", "cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    (tree / "film").write_bytes(b"x")
    assert found(tree, "film", as_video=True) == ["film"]
    with pytest.raises(DataError, match="a picture; --as-video reads a folder"):
        found(tree, "loose/1.png", as_video=True)
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="no video there"):
        found(tree, "empty", as_video=True)


def test_what_was_written_the_last_time_is_passed_over(tree):
    shutil.copytree(tree / "loose", tree / "cams/b/peaks")
    shutil.copy(tree / "cams/a/1.avi", tree / "cams/out.mp4")
    written = [tree / "cams/b/peaks", tree / "cams/out.mp4"]
    assert found(tree, "cams", written=written) == ["cams/a/1.avi", "cams/b/2.MP4", "cams/b/10.mp4"]
    assert found(tree, "cams/out.mp4", written=written) == ["cams/out.mp4"]
