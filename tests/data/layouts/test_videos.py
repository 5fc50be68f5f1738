import pytest
from PIL import Image

from offnormal.data.layouts.videos import VideosLayout, from_videos
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import clip, write_video
from tests.data.tree import draw


def names(videos):
    return [video.name for video in videos]


@pytest.mark.parametrize("train", ["train", "Training_videos", "normal", "TrainSet", "学習"])
@pytest.mark.parametrize("test", ["test", "testing", "eval", "TestVideos"])
def test_the_usual_names_of_train_and_test(tmp_path, train, test):
    write_video(tmp_path / train / "10.mp4")
    write_video(tmp_path / train / "2.avi")
    write_video(tmp_path / test / "a b.mkv")
    assert VideosLayout.recognizes(tmp_path)
    dataset = VideosLayout.read(tmp_path)
    assert (dataset.name, dataset.layout, dataset.root) == (tmp_path.name, "videos", tmp_path)
    assert (names(dataset.train), names(dataset.test)) == (["2", "10"], ["a b"])
    assert (dataset.test[0].frame_labels, dataset.test[0].masks, dataset.test[0].group) == (None, None, None)


def test_only_one_folder_for_training(tmp_path):
    for part in ("train", "normal"):
        write_video(tmp_path / part / "a.mp4")
    with pytest.raises(DataError, match="normal and train mean the same; expected only one"):
        VideosLayout.read(tmp_path)


def test_folders_may_be_missing_but_not_empty(tmp_path):
    write_video(tmp_path / "a/test/1.mp4")
    assert VideosLayout.read(tmp_path / "a").train == ()
    write_video(tmp_path / "b/train/1.mp4")
    assert VideosLayout.read(tmp_path / "b").test == ()
    (tmp_path / "b/test").mkdir()
    with pytest.raises(DataError, match=r"test: no videos; expected video files"):
        VideosLayout.read(tmp_path / "b")


def test_videos_in_subfolders_have_unique_names(tmp_path):
    for name in ("day 2/1.mp4", "day 10/1.mp4", "1.mp4", "1.avi", "cam.north.mp4"):
        write_video(tmp_path / "train" / name)
    assert names(VideosLayout.read(tmp_path).train) == ["1.avi", "1.mp4", "cam.north", "day 2/1", "day 10/1"]


def test_frame_folders_with_consecutive_numbers_are_videos(tmp_path):
    clip(tmp_path / "train/walk", start=0, suffix=".png")
    clip(tmp_path / "test/run", start=7, suffix=".jpg")
    write_video(tmp_path / "test/ride.mp4")
    assert VideosLayout.recognizes(tmp_path)
    dataset = VideosLayout.read(tmp_path)
    assert (names(dataset.train), names(dataset.test)) == (["walk"], ["ride", "run"])


@pytest.mark.parametrize(
    "image_names",
    [
        ("train/good/1.png", "train/good/2.png"),
        ("train/ok/1.png", "train/ok/2.png", "test/nok/1.png", "test/nok/2.png"),
        ("train/fine/1.png", "test/hole/1.png"),
        ("train/fine/1.png", "train/fine/3.png"),
        ("train/fine/a.png", "train/fine/b.png"),
        ("normal/lot1/1.png", "normal/lot1/2.png"),
        ("train/1.png", "train/2.png"),
        ("1.png", "2.png"),
    ],
)
def test_sorted_images_are_not_videos(tmp_path, image_names):
    assert not VideosLayout.recognizes(draw(tmp_path, *image_names))


def test_images_of_different_sizes_are_not_a_video(tmp_path):
    clip(tmp_path / "train/part 7", suffix=".png")
    assert VideosLayout.recognizes(tmp_path)
    last = max((tmp_path / "train/part 7").iterdir())
    with Image.open(last) as image:
        image.resize((9, 9)).save(last)
    assert not VideosLayout.recognizes(tmp_path)


def test_numbered_images_are_read_as_frames_with_a_warning_that_says_how_not_to(tmp_path, caplog):
    for name in ("train/lot 1", "test/lot 2"):
        clip(tmp_path / name, suffix=".png")
    (dataset,) = open_datasets(tmp_path)
    assert dataset.is_video
    assert "numbered images are read as frames: 2 videos, such as lot 1" in caplog.text
    assert f"--normal {tmp_path}/train --test {tmp_path}/test" in caplog.text
    (images,) = open_datasets(normal=tmp_path / "train", test=tmp_path / "test")
    assert not images.is_video and images.train
    caplog.clear()
    assert open_datasets(tmp_path, layout="videos")[0].is_video and not caplog.text


def test_folders_beside_train_and_test_are_named(tmp_path, caplog):
    for name in ("train/1.mp4", "test/2.mp4", "later/3.mp4"):
        write_video(tmp_path / name)
    VideosLayout.read(tmp_path)
    assert "says neither train nor test: later" in caplog.text


def test_normal_and_abnormal_videos_are_no_training_folder_alone(tmp_path):
    for name in ("normal/1.mp4", "abnormal_1/2.mp4"):
        write_video(tmp_path / name)
    with pytest.raises(DataError, match=r"abnormal_1: 1 file \(anomalous\)(.|\n)*with: --normal .*/normal\. If"):
        open_datasets(tmp_path)


def test_a_plain_folder_of_videos_is_for_training(tmp_path):
    for name in ("2.mp4", "10.mp4", "monday/1.mp4"):
        write_video(tmp_path / name)
    assert VideosLayout.recognizes(tmp_path)
    dataset = VideosLayout.read(tmp_path)
    assert (names(dataset.train), dataset.test) == (["2", "10", "monday/1"], ())


def test_videos_next_to_images_and_deeper_datasets_are_not_recognized(tmp_path):
    write_video(tmp_path / "a/1.mp4")
    draw(tmp_path / "a", "thumbnails/1.png")
    assert not VideosLayout.recognizes(tmp_path / "a")
    write_video(tmp_path / "b/site/camera/train/1.mp4")  # otherwise its test videos would be used for training
    write_video(tmp_path / "b/site/camera/test/1.mp4")
    assert not VideosLayout.recognizes(tmp_path / "b")


def test_several_cameras_are_categories(tmp_path):
    for camera in ("gate 10", "gate 2"):
        write_video(tmp_path / camera / "train/1.mp4")
    assert VideosLayout.categories(tmp_path) == ["gate 2", "gate 10"]
    dataset = VideosLayout.read(tmp_path, "gate 2")
    assert (dataset.name, dataset.category, dataset.root) == ("gate 2", "gate 2", tmp_path / "gate 2")
    with pytest.raises(DataError, match=r"2 categories \("):
        VideosLayout.read(tmp_path)


def test_single_videos_and_single_frame_folders(tmp_path):
    dataset = from_videos(train=write_video(tmp_path / "hall.mp4"), test=clip(tmp_path / "frames"))
    assert (dataset.name, dataset.root, names(dataset.train), names(dataset.test)) == (
        "hall",
        tmp_path,
        ["hall"],
        ["frames"],
    )
    with pytest.raises(DataError, match="expected a folder of videos, or a video"):
        from_videos()


def test_labels_and_masks_in_the_test_folder_are_not_videos(tmp_path):
    write_video(tmp_path / "train/a.mp4")
    write_video(tmp_path / "test/a.mp4")
    clip(tmp_path / "test/masks/a")
    assert names(VideosLayout.read(tmp_path).test) == ["a"]


@pytest.mark.realdata
def test_real_upcam(real_data):
    dataset = VideosLayout.read(real_data / "video/upcam")
    assert (len(dataset.train), names(dataset.train)[0], names(dataset.test)) == (8, "05-20", ["00"])
    assert (len(dataset.test[0].frame_labels), int(dataset.test[0].frame_labels.sum())) == (18066, 5517)
    assert [video.group for video in dataset.with_group_by(r"(\d+)-\d+|eval").train][:3] == ["05", "05", "06"]


@pytest.mark.realdata
def test_real_avenue_mini(real_data):
    from offnormal.data.frame_masks import frame_labels, open_masks

    dataset = VideosLayout.read(real_data / "video/avenue_mini")
    assert names(dataset.train) == ["10_0000", "11_0000", "12", "16"]
    assert names(dataset.test) == ["08", "17", "18", "19", "20", "21"]  # of the 21 that gt.npz labels
    assert [len(video.frame_labels) for video in dataset.test] == [36, 426, 294, 248, 273, 76]
    assert sum(int(video.frame_labels.sum()) for video in dataset.test) == 1061
    for video in dataset.test:
        with open_masks(video.masks) as masks:
            assert masks[0].shape == (180, 320)
            assert frame_labels(masks).tolist() == video.frame_labels.tolist()
