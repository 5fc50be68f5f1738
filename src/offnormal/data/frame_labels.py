"""Frame labels in every form that datasets come with -> one vector of 0 (normal) and 1 (anomalous) a video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offnormal.data.array_files import read_mat, read_npy
from offnormal.data.label_table import read_table
from offnormal.errors import DataError, VideoError
from offnormal.sources.video import open_video
from offnormal.sources.video_index import count_frames

LABEL_SUFFIXES = (".npy", ".csv", ".txt")  # in the order tried
Span = tuple[int, int]  # first and last anomalous frame, from 0, both included

_STATEMENT = re.compile(r"TestVideoFile\{(?:end\+1|\d+)\}\.gt_frame=\[([^\]]*)\];?")
_PREAMBLE = re.compile(r"TestVideoFile=\{\};?")
_RANGE = re.compile(r"(\d+)(?::(\d+))?")


def read_labels(path: Path, video: Path) -> np.ndarray:
    """The labels of one video from a .npy, .csv or .txt file, (T,) uint8.

    A .npy holds one value a frame, (T,), (1, T) or (T, 1); for tables see `label_table`. Raises DataError for other
    values than 0 and 1 and where `checked` finds another number of frames.
    """
    if path.suffix.lower() == ".npy":
        return checked(as_labels(read_npy(path), str(path)), video, str(path))
    return checked(read_table(path, video), video, str(path))


def as_labels(values: np.ndarray, source: str) -> np.ndarray:
    """Numbers or booleans (T,), (1, T) or (T, 1) as (T,) uint8; DataError for anything but 0 and 1."""
    if values.dtype.kind not in "buif" or values.ndim not in (1, 2) or (values.ndim == 2 and 1 not in values.shape):
        raise DataError(
            f"{source}: labels of shape {values.shape} and type {values.dtype}; expected one 0 or 1 a frame, (T,)"
        )
    flat = values.ravel()
    known = (flat == 0) | (flat == 1)
    if not known.all():
        frame = int(np.argmin(known))
        raise DataError(f"{source}: the label {flat[frame]} at frame {frame}; expected 0 (normal) or 1 (anomalous)")
    return flat.astype(np.uint8)


def checked(labels: np.ndarray, video: Path, source: str) -> np.ndarray:
    """The labels, when there is one for each frame; DataError otherwise.

    A video file may have fewer frames than labels, since it may be damaged, but not more.
    """
    frames = count_frames(video) if video.is_dir() else _frames_beyond(video, len(labels))
    if frames is not None and len(labels) != frames:
        raise DataError(
            f"{source}: {len(labels)} labels for the {frames} frames in {video}; give one label a frame, in frame order"
        )
    return labels


def _frames_beyond(video: Path, labels: int) -> int | None:
    """How many frames a video file has, where it states that they are more than its labels; None otherwise.

    They are counted then, since a damaged file has fewer than it states.
    """
    try:
        with open_video(video) as reader:
            if reader.info.frames is None or reader.info.frames <= labels:
                return None
            frames = max((frame.index for frame in reader.frames()), default=-1) + 1
    except VideoError:
        return None  # reported, or skipped, when its frames are wanted
    return frames if frames > labels else None


def split_labels(labels: np.ndarray, counts: Sequence[int], source: str) -> list[np.ndarray]:
    """Labels of several videos in a row, cut by their numbers of frames; DataError when the sum differs."""
    if len(labels) != sum(counts):
        raise DataError(
            f"{source}: {len(labels)} labels, but the {len(counts)} test videos have {sum(counts)} frames; are all of "
            "them there, and no other?"
        )
    return np.split(labels, np.cumsum(counts)[:-1]) if counts else []


def from_spans(spans: Sequence[Span], frames: int, source: str) -> np.ndarray:
    """Labels (frames,) that are 1 in the spans; DataError for a span that does not lie within the frames."""
    labels = np.zeros(frames, dtype=np.uint8)
    for first, last in spans:
        if not 0 <= first <= last < frames:
            raise DataError(
                f"{source}: anomalous frames {first} to {last} (from 0) of a video that has {frames} frames; expected "
                "spans inside the video: are all of its frames there?"
            )
        labels[first : last + 1] = 1
    return labels


def ucsd_spans(path: Path) -> list[list[Span]]:
    """The spans of each test clip from UCSD's `UCSDpedN.m`: `TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`.

    The file is matched, never run; its frame numbers, from 1, become numbers from 0. DataError for other statements.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    lines = (line.partition("%")[0] for line in text.splitlines())
    found: list[list[Span]] = []
    for number, line in enumerate(lines, 1):
        statement = re.sub(r"\s+(?=[={};\]])|(?<=[={}\[;])\s+", "", line.strip())
        if not statement or _PREAMBLE.fullmatch(statement):
            continue
        match = _STATEMENT.fullmatch(statement)
        pieces = re.split(r"[,\s]+", match[1].strip()) if match and match[1].strip() else []
        ranges = [_RANGE.fullmatch(piece) for piece in pieces]
        if match is None or None in ranges:
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} is not understood; expected "
                "TestVideoFile{end+1}.gt_frame = [FIRST:LAST, ...];"
            )
        found.append([(int(r[1]) - 1, int(r[2] or r[1]) - 1) for r in ranges if r])
    return found


def mat_spans(path: Path, videos: int) -> list[list[Span]]:
    """The spans of each video from a .mat with `gt`: for each video (2, K), first and last frames from 1, included.

    A cell array has one entry a video. A plain (2, N) array, which is what is left of cells of one event each, speaks
    of N videos, or, when there is only one video, of its N events. Raises DataError for another number of videos.
    Source: Liu et al., Future Frame Prediction for Anomaly Detection, CVPR 2018 (the labels of its published code).
    """
    value = read_mat(path, "gt")
    if isinstance(value, np.ndarray):
        if value.ndim == 3:
            value = list(value)
        elif videos != 1 and value.ndim == 2 and value.shape == (2, videos):
            value = list(value.T)
        else:
            value = [value]
    if len(value) != videos:
        raise DataError(f"{path}: labels of {len(value)} videos, but there are {videos} test videos; are all there?")
    return [_one_based(events, path) for events in value]


def _one_based(events: np.ndarray, path: Path) -> list[Span]:
    if events.size == 0:
        return []
    if events.shape[0] != 2 and events.size == 2:
        events = events.ravel()
    if events.ndim > 2 or events.shape[0] != 2 or (events != np.floor(events)).any():
        raise DataError(
            f"{path}: events of shape {events.shape}; expected whole numbers (2, K): the first and the last frame of "
            "each of K events"
        )
    return [(int(first) - 1, int(last) - 1) for first, last in events.reshape(2, -1).T]


def memae_labels(path: Path) -> np.ndarray:
    """Labels (T,) uint8 from a .mat of the MemAE form, whose `l` is (1, T)."""
    value = read_mat(path, "l")
    if isinstance(value, list):
        raise DataError(f"{path}: 'l' is a cell array; expected one 0 or 1 for each frame, (1, T)")
    return as_labels(value, str(path))
