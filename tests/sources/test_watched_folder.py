import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import VideoError
from offnormal.sources.camera import Camera
from offnormal.sources.live_reader import CameraOptions
from offnormal.sources.once_log import OnceLog
from offnormal.sources.watched_folder import FolderWatchOptions, WatchedFolder
from tests.sources.deep_files import write_png, write_tiff

LONG_S = 20
FILL = """
import sys, time
from pathlib import Path
from PIL import Image
import io
folder = Path(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    file = io.BytesIO()
    Image.effect_noise((96, 64), 60 + number).convert("RGB").save(file, "PNG")
    content = file.getvalue()
    with (folder / f"{number:03}.png").open("wb") as out:
        for start in range(0, len(content), len(content) // 4):
            out.write(content[start : start + len(content) // 4])
            out.flush()
            time.sleep(0.03)
"""


def save(path, value=0):
    Image.fromarray(np.full((16, 24, 3), value, np.uint8)).save(path)
    return path


def gather(folder, count, options=None, pause=0.4):
    """Return the first `count` images of a folder, and those within `pause` seconds after them."""
    stop, yielded, deadline_s = threading.Event(), [], time.monotonic() + LONG_S
    watched = (
        folder
        if isinstance(folder, WatchedFolder)
        else WatchedFolder(folder, options or FolderWatchOptions(poll_s=0.02, settle_s=0.1))
    )

    def run():
        for live_image in watched.images(stop):
            yielded.append((live_image.path.name, live_image.image()))

    thread = threading.Thread(target=run)
    thread.start()
    while len(yielded) < count and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(pause)
    stop.set()
    thread.join()
    return yielded


def names(yielded):
    return [name for name, _ in yielded]


def test_slowly_written_images_come_once_and_complete(tmp_path):
    with Camera(
        "line", str(tmp_path), CameraOptions(folder_watch=FolderWatchOptions(poll_s=0.02, settle_s=0.1))
    ) as camera:
        camera.take(0.2)  # files present now are known
        writer = subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), "0", "8"])
        yielded = []
        while len(yielded) < 8:
            yielded.append(camera.take(LONG_S))
        writer.wait()
        assert camera.take(0.5) is None
    assert [frame.path.name for frame in yielded] == [f"{number:03}.png" for number in range(8)]
    for frame in yielded:
        np.testing.assert_array_equal(frame.image, np.asarray(Image.open(frame.path)))
    assert (camera.status.dropped, camera.status.gaps) == (0, 0)


def test_existing_images_are_optional(tmp_path):
    for number in (10, 2, 1):
        save(tmp_path / f"{number}.png")
    assert gather(tmp_path, 0) == []
    assert names(gather(tmp_path, 3, FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True))) == [
        "1.png",
        "2.png",
        "10.png",
    ]


def test_an_incomplete_image_is_waited_for(tmp_path):
    whole = save(tmp_path / "whole.png", 7).read_bytes()
    (tmp_path / "whole.png").unlink()
    watched = WatchedFolder(tmp_path, FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True))
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    assert gather(watched, 0) == []
    (tmp_path / "half.png").write_bytes(whole)
    assert [(name, int(image[0, 0, 0])) for name, image in gather(watched, 1)] == [("half.png", 7)]


def test_an_unreadable_image_is_skipped_with_one_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("offnormal.sources.watched_folder._GIVE_UP_S", 0.1)
    (tmp_path / "bad.png").write_bytes(b"no image")
    save(tmp_path / "good.png")
    assert names(gather(tmp_path, 1, FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True))) == ["good.png"]
    assert caplog.text.count("bad.png") == 1


def test_an_overwritten_image_is_a_new_one(tmp_path):
    watched = WatchedFolder(tmp_path, FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True))
    save(tmp_path / "a.png", 1)
    assert names(gather(watched, 1)) == ["a.png"]
    time.sleep(0.02)
    save(tmp_path / "a.png", 2)
    assert [int(image[0, 0, 0]) for _, image in gather(watched, 1)] == [2]


def test_a_restart_continues_after_the_last_image(tmp_path):
    folder, memory = tmp_path / "line", tmp_path / "memory.jsonl"
    folder.mkdir()
    options = FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True, memory=memory)
    for number in range(3):
        save(folder / f"{number}.png")
    assert len(gather(folder, 3, options)) == 3
    for number in range(3, 5):
        save(folder / f"{number} ä\u2028.png")
    assert names(gather(folder, 2, options)) == ["3 ä\u2028.png", "4 ä\u2028.png"]
    assert gather(folder, 0, options) == []
    (folder / "0.png").unlink()
    with memory.open("a") as file:
        file.write('["5.png", 12')  # killed while writing
    save(folder / "5.png")
    assert names(gather(folder, 1, options)) == ["5.png"]
    assert "0.png" not in memory.read_text()


def test_the_memory_does_not_grow_with_deleted_images(tmp_path, monkeypatch):
    monkeypatch.setattr("offnormal.sources.watched_folder._SPARE_LINES", 5)
    folder, memory = tmp_path / "line", tmp_path / "memory.jsonl"
    folder.mkdir()
    options = FolderWatchOptions(poll_s=0.01, settle_s=0.02, existing=True, memory=memory)
    images = WatchedFolder(folder, options).images(threading.Event())
    max_lines = 0
    for number in range(30):
        save(folder / f"{number}.png")
        assert next(images).path.name == f"{number}.png"
        (folder / f"{number}.png").unlink()
        max_lines = max(max_lines, len(memory.read_text().splitlines()))
    assert max_lines <= 9


@pytest.mark.parametrize(
    "damaged", [b"buy milk\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"[1, 2]\n", b'["x", 1e999, 2]\n']
)
def test_damaged_lines_of_a_memory_file_are_set_aside(tmp_path, caplog, damaged):
    folder, memory = tmp_path / "line", tmp_path / "line.images.json"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    status = (folder / "a.png").stat()
    good = json.dumps(["a.png", status.st_size, status.st_mtime_ns]).encode() + b"\n"
    for content, processed in ((damaged + good, ["a.png"]), (damaged, ["a.png", "b.png"])):
        memory.write_bytes(content)
        watched = WatchedFolder(folder, FolderWatchOptions(memory=memory))
        assert sorted(path.name for path in watched._load_processed()) == processed
    assert (tmp_path / "line.images.json.damaged").read_bytes() == damaged + good
    assert len(caplog.records) == 2 and "1 damaged line, now" in caplog.text


def test_a_missing_folder_is_a_gap_until_it_returns(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    with Camera(
        "line", str(folder), CameraOptions(folder_watch=FolderWatchOptions(poll_s=0.02, settle_s=0.1))
    ) as camera:
        camera.take(0.2)
        save(folder / "1.png")
        assert camera.take(LONG_S).path.name == "1.png"
        folder.rename(tmp_path / "away")
        assert camera.take(LONG_S).reason.startswith("failed:")
        save(tmp_path / "away" / "2.png")
        (tmp_path / "away").rename(folder)
        assert camera.take(LONG_S).path.name == "2.png"


def test_an_unreadable_folder_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="cannot be read"):
        next(WatchedFolder(tmp_path / "none", FolderWatchOptions()).images(threading.Event()))


def test_every_page_of_a_file_is_yielded_and_an_unreadable_one_is_named(tmp_path, caplog):
    frames = [np.full((16, 24), value, np.uint8) for value in (10, 20, 30)]
    write_tiff(tmp_path / "a.tif", *frames, (frames[0], {"t273": 10**9}))
    write_tiff(tmp_path / "b.tif", frames[0])
    options = FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True)
    images = gather(tmp_path, 4, options)
    assert names(images) == ["a.tif[1]", "a.tif[2]", "a.tif[3]", "b.tif"]
    assert "a.tif[4]" in caplog.text


def test_deep_images_are_read_with_the_levels_of_the_detector(tmp_path, caplog):
    values = np.full((16, 24, 3), 1000, np.uint16)
    values[0, 0] = 4095
    for name in "ab":
        write_png(tmp_path / f"{name}.png", values)
    options = FolderWatchOptions(poll_s=0.02, settle_s=0.1, existing=True, levels=(0, 65535), notes=OnceLog())
    stop = threading.Event()
    watched = WatchedFolder(tmp_path, options).images(stop)
    image = next(watched)
    next(watched)
    stop.set()
    np.testing.assert_allclose(image.deep[5, 5], [1000 / 65535] * 3, rtol=1e-6)
    assert image.image()[5, 5].tolist() == [round(1000 / 65535 * 255)] * 3
    assert caplog.text.count("dark values") == 1
