"""Video clips: recent frames of a camera in memory, frames of an event on disk, and MP4 files."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image

from offnormal.errors import DataError, OffnormalError, UsageError
from offnormal.files import explain_write_errors, new_file

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # by preference; some browsers do not play the last one
CLOCK = 60_000  # timestamp ticks per second; divisible by usual rates; MPEG-4 part 2 allows 65,535
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "21"}}  # crf 18 is visually lossless; larger is smaller files
_BIT_RATE = 4_000_000  # bits per second, for encoders without crf
_KEY_FRAME_S = 2.0  # maximum distance, so that players seek quickly
_BT709 = 1  # color space, primaries, and transfer: the code of BT.709 in each table
_LIMITED = 1  # color range: 16-235
_FPS = 5.0  # rate of a clip with a single frame
_QUALITY = 85  # JPEG quality
_MAX_BYTES = 16 << 20  # per camera: 40 cameras fit into 640 MB


class Mp4File:
    """Writes frames of one size at their own times to an MP4 file, which appears when the block succeeds.

    size: (H, W), both even. fps: rate of frames without a time. threads: for encoding; 0: one per core. encoder: of
    `ENCODERS`; None: the first that is installed.
    Raises OffnormalError when the file cannot be written.
    """

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int], *, threads: int = 0, encoder: str | None = None
    ) -> None:
        self.path = path
        self.frames = 0
        self.encoder = encoder or _select_encoder()
        self._fps, self._size, self._threads = fps, size, threads
        self._stack: ExitStack | None = None
        self._last_tick = 0  # ticks of the newest frame
        self._start_s = 0.0

    def __enter__(self) -> Mp4File:
        with ExitStack() as stack:
            partial = stack.enter_context(new_file(self.path))
            stack.enter_context(self._open_encoder(partial))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(kind, error, trace)

    @property
    def is_open(self) -> bool:
        """Whether frames can be added."""
        return self._stack is not None

    def display_time_s(self, time_s: float | None) -> float:
        """Return the display time of a frame, on the clock of the frames' times."""
        return self._ticks(time_s) / CLOCK + (self._start_s if self.frames else time_s or 0.0)

    def add(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Write one more frame (H, W, 3) uint8 RGB, displayed after the previous one whatever its time.

        Raises UsageError outside the `with` block, OffnormalError when writing fails.
        """
        if not self.is_open:
            raise UsageError(f"{self.path}: not open; add frames inside the `with` block")
        ticks = self._ticks(time_s)
        if self.frames == 0:
            self._start_s = 0.0 if time_s is None else float(time_s)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        frame.pts, frame.time_base = ticks, Fraction(1, CLOCK)
        with self._translate_errors():
            self._container.mux(self._stream.encode(frame))
        self.frames += 1
        self._last_tick = ticks

    def _ticks(self, time_s: float | None) -> int:
        """Return the display time of the next frame in ticks after the first."""
        step = max(1, round(CLOCK / self._fps))
        if self.frames == 0:
            return 0
        ticks = self._last_tick + step if time_s is None else round((time_s - self._start_s) * CLOCK)
        return ticks if ticks > self._last_tick else self._last_tick + step

    @contextmanager
    def _open_encoder(self, partial: Path) -> Iterator[None]:
        """Open the encoder and its container; finish them when the block succeeds, discard them when it fails."""
        with self._translate_errors():
            container = av.open(str(partial.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            with self._translate_errors():
                self._container, self._stream = container, self._open(container)
            yield
            if not self.frames:
                raise DataError(f"{self.path}: no frame was added; expected at least one")
            with self._translate_errors():
                container.mux(self._stream.encode(None))
                container.close()
        except BaseException:
            with suppress(av.FFmpegError, OSError):
                container.close()
            raise

    def _open(self, container: OutputContainer) -> VideoStream:
        rate = Fraction(self._fps).limit_denominator(1001)
        added_stream = container.add_stream(self.encoder, rate=rate, options=_OPTIONS.get(self.encoder, {}))
        stream = cast(VideoStream, added_stream)
        (stream.height, stream.width), stream.pix_fmt = self._size, "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, CLOCK)
        codec.thread_count = self._threads
        codec.gop_size = max(1, round(_KEY_FRAME_S * self._fps))
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED
        if self.encoder not in _OPTIONS:
            codec.bit_rate = _BIT_RATE
        return stream

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn errors of the encoder into OffnormalError."""
        try:
            with explain_write_errors(self.path):
                try:
                    yield
                except av.FFmpegError as error:
                    raise OSError(error.errno, error.strerror) from None
        except OSError as error:
            raise OffnormalError(
                f"{self.path}: the video cannot be written ({error.strerror}); try another path or size"
            ) from None


def _select_encoder() -> str:
    """Return the first of ENCODERS that this build of FFmpeg has; OffnormalError if it has none."""
    encoder = next((name for name in ENCODERS if _has_encoder(name)), None)
    if encoder is None:
        raise OffnormalError(
            f"PyAV {av.__version__} was built without {', '.join(ENCODERS)}; install its wheel from PyPI, which has "
            "the first: pip install --force-reinstall --only-binary av av"
        )
    return encoder


def _has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


class StoredFrame(NamedTuple):
    """One compressed image."""

    time_s: float
    jpeg: bytes


class ClipRing:
    """Frames of the last `seconds`, fewer if they would exceed `max_bytes`.

    longest: maximum of the longer side in pixels, larger images are downscaled; None: no limit.
    """

    def __init__(self, seconds: float, *, longest: int | None = 1280, max_bytes: int = _MAX_BYTES) -> None:
        self.seconds = seconds
        self.longest = longest
        self.max_bytes = max_bytes
        self.bytes = 0
        self._frames: deque[StoredFrame] = deque()

    def push(self, time_s: float, image: np.ndarray) -> StoredFrame:
        """Compress and store a frame (H, W, 3) uint8 RGB; drop frames that are too old or too many."""
        stored = StoredFrame(time_s, encode_jpeg(image, self.longest))
        self._frames.append(stored)
        self.bytes += len(stored.jpeg)
        while len(self._frames) > 1 and (self._frames[0].time_s < time_s - self.seconds or self.bytes > self.max_bytes):
            self.bytes -= len(self._frames.popleft().jpeg)
        return stored

    def since(self, time_s: float) -> list[StoredFrame]:
        """Return the stored frames from a time on."""
        return [stored for stored in self._frames if stored.time_s >= time_s]


class EventFrames:
    """Frames of one event on disk; a write error stops the recording and is stored in `problem`."""

    def __init__(self, scratch: Path, frames: Iterable[StoredFrame]) -> None:
        self.scratch = scratch
        self.problem: str | None = None
        self._index: list[tuple[float, int, int]] = []  # time, offset and length of each frame
        self._size = 0
        self._file: BinaryIO | None = None
        try:
            self._file = self._open()
        except OSError as error:
            self._record_problem(error)
            return
        for stored in frames:
            self.add(stored)

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return self._size

    def add(self, stored: StoredFrame) -> None:
        """Add the next frame."""
        if self.problem is not None or self._file is None:
            return
        try:
            self._file.write(stored.jpeg)
        except OSError as error:
            self._record_problem(error)
            return
        self._index.append((stored.time_s, self._size, len(stored.jpeg)))
        self._size += len(stored.jpeg)

    def write_clip(self, path: Path, start_s: float, end_s: float) -> None:
        """Write the frames from start to end as MP4; OffnormalError when that fails."""
        if self.problem is not None:
            raise OffnormalError(self.problem)
        frames = self._read_frames(start_s, end_s)
        first = next(frames, None)
        if first is None:
            raise OffnormalError("no frame to record")
        height, width = (max(2, side - side % 2) for side in first[1].shape[:2])
        with Mp4File(path, self._fps(start_s, end_s), (height, width), threads=1) as file:
            file.add(_fit_size(first[1], (height, width)), first[0])
            for time_s, image in frames:
                file.add(_fit_size(image, (height, width)), time_s)

    def close(self) -> None:
        """Delete the frames."""
        with suppress(OSError):  # unwritten frames are useless now
            if self._file is not None:
                self._file.close()
        self.scratch.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        self.scratch.parent.mkdir(parents=True, exist_ok=True)
        return self.scratch.open("w+b")

    def _read_frames(self, start_s: float, end_s: float) -> Iterator[tuple[float, np.ndarray]]:
        assert self._file is not None
        for time_s, offset, length in self._index:
            if start_s <= time_s <= end_s:
                self._file.seek(offset)
                yield time_s, _decode_jpeg(self._file.read(length))

    def _fps(self, start_s: float, end_s: float) -> float:
        times = [time_s for time_s, _, _ in self._index if start_s <= time_s <= end_s]
        return min(120.0, max(0.1, 1 / float(np.median(np.diff(times))))) if len(times) > 1 else _FPS

    def _record_problem(self, error: OSError) -> None:
        self.problem = f"the clip could not be recorded ({error.strerror})"


def encode_jpeg(image: np.ndarray, longest: int | None = None) -> bytes:
    """Encode an image (H, W, 3) uint8 RGB as JPEG, the longer side at most `longest` pixels."""
    resized = Image.fromarray(image)
    if longest is not None:
        resized.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    resized.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _decode_jpeg(jpeg: bytes) -> np.ndarray:
    """Decode an image of `encode_jpeg` to (H, W, 3) uint8 RGB."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _fit_size(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fit a frame to the size of the clip: crop the odd row or column, or resize if the camera changed its size."""
    height, width = size
    if image.shape[0] - height in (0, 1) and image.shape[1] - width in (0, 1):
        return np.ascontiguousarray(image[:height, :width])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
