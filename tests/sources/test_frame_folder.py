import numpy as np
import pytest
from PIL import Image

from offnormal.errors import VideoError
from offnormal.sources.frame_folder import FrameFolder

RNG = np.random.default_rng(0)


def write(folder, *names, size=(6, 8)):
    folder.mkdir(exist_ok=True)
    images = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in names]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return images


@pytest.mark.parametrize(
    "names", [("0.png", "1.png", "10.png"), ("1.bmp", "2.png", "10.tif"), ("f7.png", "f10.png", "g1.png")]
)
def test_the_position_in_natural_order_is_the_index(tmp_path, names):
    images = write(tmp_path / "v", *names)
    found = list(FrameFolder(tmp_path / "v").frames())
    assert [frame.index for frame in found] == [0, 1, 2]
    for frame, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_what_a_folder_says_of_itself(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(10)))
    (tmp_path / "v" / "Thumbs.db").write_text("")
    (tmp_path / "v" / "._1.png").write_text("")
    without, given = FrameFolder(tmp_path / "v").info, FrameFolder(tmp_path / "v", fps=4).info
    assert (without.frames, without.exact, without.size, without.fps, without.duration_s) == (
        10,
        True,
        (6, 8),
        None,
        None,
    )
    assert (given.fps, given.duration_s) == (4, 2.5)


def test_times_come_from_the_rate_given_and_only_from_it(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(4)))
    assert [frame.time_s for frame in FrameFolder(tmp_path / "v").frames()] == [None] * 4
    assert [frame.time_s for frame in FrameFolder(tmp_path / "v", fps=4).frames(1)] == [0.25, 0.5, 0.75]


def test_ranges_and_single_frames_equal_reading_in_order(tmp_path):
    images = write(tmp_path / "v", *(f"{i}.png" for i in range(7)))
    reader = FrameFolder(tmp_path / "v")
    assert [frame.index for frame in reader.frames(2, 5)] == [2, 3, 4]
    assert list(reader.frames(9)) == [] == list(reader.frames(3, 3))
    for index in (6, 0, 3):
        np.testing.assert_array_equal(reader.frame(index).image, images[index])
    for index, words in ((7, "there are 7"), (-1, "counted from 0")):
        with pytest.raises(VideoError, match=words):
            reader.frame(index)
    with pytest.raises(VideoError, match="counted from 0"):
        reader.frames(-1)


def test_thinning_reads_the_first_frame_of_each_interval(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(20)))
    (tmp_path / "v" / "3.png").write_bytes(b"")  # between two that are read
    assert [frame.index for frame in FrameFolder(tmp_path / "v", fps=10).thinned(0.5)] == [0, 5, 10, 15]
    with pytest.raises(VideoError, match="no clock; give the rate"):
        FrameFolder(tmp_path / "v").thinned(0.5)
    with pytest.raises(VideoError, match="above 0"):
        FrameFolder(tmp_path / "v", fps=10).thinned(0)


def test_16_bit_frames_are_scaled_by_the_bits_that_the_folder_uses(tmp_path):
    (tmp_path / "v").mkdir()
    for i in range(40):
        values = np.full((2, 3), 100 + 99 * i, np.uint16)  # up to 3961: 12 bits, the first ones less
        Image.fromarray(values).save(tmp_path / "v" / f"{i}.png")
    reader = FrameFolder(tmp_path / "v")
    assert reader.bits == 12
    assert reader.frame(39).image.dtype == np.uint8
    assert reader.frame(39).image[0, 0].tolist() == [round(3961 / 4095 * 255)] * 3
    assert FrameFolder(tmp_path / "v", bits=16).frame(39).image[0, 0, 0] == round(3961 / 65535 * 255)


def test_grey_and_palette_frames_become_rgb(tmp_path):
    write(tmp_path / "v", "1.png")
    Image.fromarray(np.full((6, 8), 77, np.uint8)).save(tmp_path / "v" / "2.tif")
    assert FrameFolder(tmp_path / "v").frame(1).image.tolist() == np.full((6, 8, 3), 77).tolist()


def test_a_folder_without_pictures_a_bad_one_and_one_of_another_size_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: a folder without pictures; expected"):
        FrameFolder(tmp_path / "empty")
    write(tmp_path / "v", "1.png", "2.png")
    write(tmp_path / "v", "3.png", size=(8, 6))
    reader = FrameFolder(tmp_path / "v")
    with pytest.raises(VideoError, match=r"3\.png: 6 x 8 pixels, but 1\.png has 8 x 6"):
        list(reader.frames())
    (tmp_path / "v" / "2.png").write_bytes((tmp_path / "v" / "2.png").read_bytes()[:60])
    with pytest.raises(VideoError, match=r"2\.png: damaged or truncated"):
        list(reader.frames())
    (tmp_path / "v" / "1.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"1\.png: not a picture"):
        FrameFolder(tmp_path / "v")


@pytest.mark.parametrize("fps", [0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    write(tmp_path / "v", "1.png")
    with pytest.raises(VideoError, match="expected a number above 0"):
        FrameFolder(tmp_path / "v", fps=fps)
