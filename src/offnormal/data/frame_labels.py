"""Reads frame labels in all formats that datasets use; returns one vector of 0 (normal) and 1 (anomalous) per video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offnormal.data.array_files import read_mat, read_npy
from offnormal.data.label_table import read_label_table
from offnormal.errors import DataError, VideoError, counted
from offnormal.sources.video_index import count_frames, is_truncated

LABEL_SUFFIXES = (".npy", ".csv", ".txt")  # in the order tried
Span = tuple[int, int]  # first and last anomalous frame, from 0, inclusive

_STATEMENT = re.compile(r"TestVideoFile\{(?:end\+1|\d+)\}\.gt_frame=\[([^\]]*)\];?")
_PREAMBLE = re.compile(r"TestVideoFile=\{\};?")
_RANGE = re.compile(r"(\d+)(?::(\d+))?")


def read_labels(path: Path, video: Path) -> np.ndarray:
    """Read the labels of one video from a .npy, .csv, or .txt file, (T,) uint8.

    A .npy contains one value per frame, (T,), (1, T), or (T, 1); for tables see `label_table`. Raises DataError for
    values other than 0 and 1, and for another number of frames (see `check_label_count`).
    """
    if path.suffix.lower() == ".npy":
        return check_label_count(parse_labels(read_npy(path), str(path)), video, str(path))
    return check_label_count(read_label_table(path, video), video, str(path))


def parse_labels(values: np.ndarray, source: str) -> np.ndarray:
    """Convert numbers or booleans (T,), (1, T), or (T, 1) to (T,) uint8; DataError for values other than 0 and 1."""
    if values.dtype.kind not in "buif" or values.ndim not in (1, 2) or (values.ndim == 2 and 1 not in values.shape):
        raise DataError(
            f"{source}: labels of shape {values.shape} and type {values.dtype}; expected one 0 or 1 per frame, (T,)"
        )
    flat = values.ravel()
    is_valid = (flat == 0) | (flat == 1)
    if not is_valid.all():
        frame = int(np.argmin(is_valid))
        raise DataError(f"{source}: label {flat[frame]} at frame {frame}; expected 0 (normal) or 1 (anomalous)")
    return flat.astype(np.uint8)


def check_label_count(labels: np.ndarray, video: Path, source: str) -> np.ndarray:
    """Return the labels if `check_count` accepts their number."""
    check_count(len(labels), "label", video, source)
    return labels


def check_count(count: int, noun: str, video: Path, source: str) -> None:
    """Check that there is one label or mask (`noun`) per frame of a video; DataError otherwise.

    A truncated file may have fewer frames. A file that cannot be read is not checked: it is reported or skipped when
    its frames are read.
    """
    try:
        frames = count_frames(video)
        if count == frames or (count > frames and is_truncated(video)):
            return
    except VideoError:
        return
    raise DataError(
        f"{source}: {counted(count, noun)} for {counted(frames, 'frame')} in {video}; expected one {noun} per frame, "
        "in frame order"
    )


def split_labels(labels: np.ndarray, counts: Sequence[int], source: str) -> list[np.ndarray]:
    """Split the concatenated labels of several videos by frame counts; DataError if the sum differs."""
    if len(labels) != sum(counts):
        raise DataError(
            f"{source}: {counted(len(labels), 'label')} for {counted(sum(counts), 'frame')} in "
            f"{counted(len(counts), 'test video')}; expected one label per frame; check for missing or extra videos"
        )
    return np.split(labels, np.cumsum(counts)[:-1]) if counts else []


def labels_from_spans(spans: Sequence[Span], frames: int, source: str) -> np.ndarray:
    """Return labels (frames,) that are 1 in the spans; DataError for a span outside the frames."""
    labels = np.zeros(frames, dtype=np.uint8)
    for first, last in spans:
        if not 0 <= first <= last < frames:
            raise DataError(
                f"{source}: anomalous frames {first} to {last} (from 0), but the video has {counted(frames, 'frame')}; "
                "expected spans inside the video; check for missing frames"
            )
        labels[first : last + 1] = 1
    return labels


def clip_spans(spans: Sequence[Span], frames: int, source: str) -> np.ndarray:
    """Return labels as `labels_from_spans`, for annotations whose last spans exceed the video; it must start inside."""
    return labels_from_spans(
        [(first, min(last, frames - 1) if first < frames else last) for first, last in spans], frames, source
    )


def ucsd_spans(path: Path) -> list[list[Span]]:
    """Read the spans of each test clip from UCSD's `UCSDpedN.m`: `TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`.

    The file is matched, never executed; frame numbers from 1 become numbers from 0. DataError for other statements.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    lines = (line.partition("%")[0] for line in text.splitlines())
    spans: list[list[Span]] = []
    for number, line in enumerate(lines, 1):
        statement = re.sub(r"\s+(?=[={};\]])|(?<=[={}\[;])\s+", "", line.strip())
        if not statement or _PREAMBLE.fullmatch(statement):
            continue
        match = _STATEMENT.fullmatch(statement)
        pieces = re.split(r"[,\s]+", match[1].strip()) if match and match[1].strip() else []
        ranges = [_RANGE.fullmatch(piece) for piece in pieces]
        if match is None or None in ranges:
            raise DataError(
                f"{path}, line {number}: {line.strip()!r}; expected TestVideoFile{{end+1}}.gt_frame = "
                "[FIRST:LAST, ...];"
            )
        spans.append([(int(r[1]) - 1, int(r[2] or r[1]) - 1) for r in ranges if r])
    return spans


def mat_spans(path: Path, videos: int) -> list[list[Span]]:
    """Read the spans of each video from `gt` of a .mat: (2, K) per video, first and last frames from 1, inclusive.

    A cell array has one entry per video. A plain (2, N) array (cells of one event each that were merged) describes N
    videos or, if there is only one video, its N events. Raises DataError for another number of videos.
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
        raise DataError(
            f"{path}: labels of {counted(len(value), 'video')} for {counted(videos, 'test video')}; expected the same "
            "number; check for missing videos"
        )
    return [_one_based(events, path) for events in value]


def _one_based(events: np.ndarray, path: Path) -> list[Span]:
    if events.size == 0:
        return []
    if events.shape[0] != 2 and events.size == 2:
        events = events.ravel()
    if events.ndim > 2 or events.shape[0] != 2 or not np.isfinite(events).all() or (events != np.floor(events)).any():
        raise DataError(
            f"{path}: events of shape {events.shape}; expected integers (2, K): the first and last frame of each of "
            "K events"
        )
    return [(int(first) - 1, int(last) - 1) for first, last in events.reshape(2, -1).T]


def memae_labels(path: Path) -> np.ndarray:
    """Read labels (T,) uint8 from a .mat file in MemAE's format, in which `l` is (1, T)."""
    value = read_mat(path, "l")
    if isinstance(value, list):
        raise DataError(f"{path}: 'l' is a cell array; expected one 0 or 1 per frame, (1, T)")
    return parse_labels(value, str(path))
