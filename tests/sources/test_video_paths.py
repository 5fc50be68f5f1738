import pytest

from offnormal.sources.video_paths import is_frame_folder, is_video, videos_below, videos_in


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("name", ["a.mp4", "b c.AVI", "x.mkv", "x.MOV", "x.ts"])
def test_videos_are_known_by_their_suffix(tmp_path, name):
    assert is_video(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "mp4", "._a.mp4", "a.mp4.part"])
def test_other_and_hidden_files_are_not(tmp_path, name):
    assert not is_video(tmp_path / name)


def test_videos_in_natural_order(tmp_path):
    touch(tmp_path, "10.mp4", "2.avi", ".3.mp4", "day 2/1.mp4", ".trash/4.mp4", "5.png")
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in videos_in(tmp_path)] == ["2.avi", "10.mp4"]
    names = [path.relative_to(tmp_path).as_posix() for path in videos_in(tmp_path, recursive=True)]
    assert names == ["2.avi", "10.mp4", "day 2/1.mp4"]


def test_a_frame_folder_holds_pictures_and_no_video(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "b/1.mp4", "c/d/1.png", "e/._1.png")
    assert [is_frame_folder(tmp_path / name) for name in "abcex"] == [True, False, False, False, False]
    assert not is_frame_folder(tmp_path / "a/1.png")


def test_videos_below_are_files_and_frame_folders_at_any_depth(tmp_path):
    touch(tmp_path, "day 10/a.mp4", "day 2/north/1.png", "day 2/north/2.png", "z.avi", ".old/a.mp4", "empty/notes.txt")
    names = [path.relative_to(tmp_path).as_posix() for path in videos_below(tmp_path)]
    assert names == ["day 2/north", "day 10/a.mp4", "z.avi"]
