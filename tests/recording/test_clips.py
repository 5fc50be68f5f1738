import av
import numpy as np
import pytest

from offnormal.errors import DataError, UsageError
from offnormal.recording.clips import ClipRing, Mp4File, _decode_jpeg, encode_jpeg

GRAY = np.full((48, 64, 3), 90, np.uint8)


def noise(seed=0, size=(180, 320)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)


def test_the_ring_holds_frames_of_the_last_seconds():
    ring = ClipRing(2.0)
    for i in range(50):
        ring.push(i / 4, noise(i, (32, 32)))
    assert [stored.time_s for stored in ring.since(0)] == [i / 4 for i in range(41, 50)]
    assert [stored.time_s for stored in ring.since(11.9)] == [12.0, 12.25]


def test_memory_is_bounded_for_any_images():
    ring = ClipRing(1e9, max_bytes=200_000)
    for i in range(100):
        ring.push(i, noise(i))
        size = sum(len(stored.jpeg) for stored in ring.since(0))
        assert ring.bytes == size <= 200_000
    assert len(ring.since(0)) > 1 and ring.since(0)[-1].time_s == 99


def test_images_round_trip_and_large_ones_are_downscaled():
    y, x = np.mgrid[:90, :160]
    image = np.stack([x, y, x + y], -1).astype(np.uint8)
    assert np.abs(_decode_jpeg(encode_jpeg(image)).astype(int) - image).mean() < 3
    assert _decode_jpeg(encode_jpeg(image, 80)).shape == (45, 80, 3)
    assert _decode_jpeg(encode_jpeg(image, 1280)).shape == (90, 160, 3)


def test_frames_of_a_file_have_their_own_times(tmp_path):
    with Mp4File(tmp_path / "x.mp4", 5, (48, 64), threads=1) as file:
        assert file.display_time_s(7.0) == 7.0
        for time_s in (7.0, 7.2, 8.0):
            file.add(GRAY, time_s)
        assert file.display_time_s(8.5) == 8.5 and file.display_time_s(1.0) == 8.2, "never before the last one"
    with av.open(str(tmp_path / "x.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time_s for time_s, _ in frames] == pytest.approx([0, 0.2, 1.0])
    assert frames[0][1].shape == (48, 64, 3) and np.abs(frames[0][1].astype(int) - 90).max() < 4


def test_a_file_needs_frames_and_frames_need_the_block(tmp_path):
    file = Mp4File(tmp_path / "x.mp4", 5, (48, 64))
    with pytest.raises(UsageError, match="inside the `with` block"):
        file.add(GRAY)
    with pytest.raises(DataError, match="no frame was added"), file:
        pass
    assert not list(tmp_path.iterdir())
