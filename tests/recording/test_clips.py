import numpy as np

from offnormal.recording.clips import ClipRing, compressed, decompressed


def noise(seed=0, size=(180, 320)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)


def test_frames_of_the_last_seconds_are_kept():
    ring = ClipRing(2.0)
    for i in range(50):
        ring.push(i / 4, noise(i, (32, 32)))
    assert [stored.time_s for stored in ring.since(0)] == [i / 4 for i in range(41, 50)]
    assert [stored.time_s for stored in ring.since(11.9)] == [12.0, 12.25]


def test_memory_is_bounded_whatever_the_pictures_show():
    ring = ClipRing(1e9, most_bytes=200_000)
    for i in range(100):
        ring.push(i, noise(i))
        held = sum(len(stored.jpeg) for stored in ring.since(0))
        assert ring.bytes == held <= 200_000
    assert len(ring.since(0)) > 1 and ring.since(0)[-1].time_s == 99


def test_pictures_come_back_and_large_ones_are_shrunk():
    y, x = np.mgrid[:90, :160]
    picture = np.stack([x, y, x + y], -1).astype(np.uint8)
    assert np.abs(decompressed(compressed(picture)).astype(int) - picture).mean() < 3
    assert decompressed(compressed(picture, 80)).shape == (45, 80, 3)
    assert decompressed(compressed(picture, 1280)).shape == (90, 160, 3)
