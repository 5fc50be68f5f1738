"""What the metrics accept: labels, scores, masks and maps, checked once and in the same words everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


def as_array(values: ArrayLike, name: str) -> np.ndarray:
    """Numbers or booleans of any shape -> numpy array; DataError for anything else, or for nothing at all."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name}: {type(values).__name__} cannot be read as an array of numbers ({error}); "
            "expected a list or numpy array: call .detach().float().cpu() on a tensor first"
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: got values of type {array.dtype}, expected numbers: convert them, or leave out what has none"
        )
    if array.size == 0:
        raise DataError(f"{name}: got no values, expected at least one: was anything loaded or scored?")
    return array


def as_binary(values: ArrayLike, name: str) -> BoolArray:
    """0/1 or booleans of any shape -> (n,) bool; DataError for any other value.

    >>> as_binary([[0], [1.0]], "labels").tolist()
    [False, True]
    """
    array = as_array(values, name).ravel()
    ones: BoolArray = array == 1
    strange = array[~ones & (array != 0)]
    if strange.size:
        shown = ", ".join(f"{value:g}" for value in np.unique(strange)[:5])
        raise DataError(f"{name}: got the value {shown}; expected only 0 (normal) and 1 (anomalous): recode them")
    return ones


def as_finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Numbers of any shape -> (n,) float64; DataError where one is NaN or infinite."""
    array = as_array(values, name).ravel().astype(np.float64)
    check_finite(array, name)
    return array


def check_finite(array: FloatArray, name: str) -> None:
    """DataError naming how many values are NaN or infinite, and where the first one is."""
    strange = np.flatnonzero(~np.isfinite(array))
    if strange.size:
        raise DataError(
            f"{name}: {strange.size} of {array.size} values are NaN or infinite, the first at position "
            f"{strange[0]}; expected finite numbers: look at the picture or the detector behind them"
        )


def labeled_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, NDArray[np.float64]]:
    """Labels and scores that belong together -> (n,) bool, (n,) float64.

    Both may have any shape. Raises DataError where they do not go together, or hold what `as_binary` and
    `as_finite` refuse.
    """
    truth, ranks = as_array(labels, "labels"), as_array(scores, "scores")
    sides = [tuple(side for side in array.shape if side != 1) for array in (truth, ranks)]
    if truth.size != ranks.size or (sides[0] != sides[1] and min(map(len, sides)) > 1):
        raise DataError(
            f"labels and scores: got shapes {truth.shape} and {ranks.shape}; "
            "expected one score for each label, in the same order"
        )
    return as_binary(truth, "labels"), as_finite(ranks, "scores")


def check_both_classes(anomalous: int, normal: int, unit: str) -> None:
    """DataError unless there is at least one of each class; `unit` says of what ("labels", "pixels")."""
    if not anomalous or not normal:
        missing, present = ("anomalous", "normal") if normal else ("normal", "anomalous")
        raise DataError(
            f"{unit}: all {anomalous + normal} are {present}; this metric compares normal with anomalous "
            f"and needs both: add {missing} samples to the test data"
        )


def pixel_arrays(
    masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None
) -> tuple[BoolArray, FloatArray, BoolArray]:
    """Masks, maps and what to ignore -> masks (N, H, W) bool, maps (N, H, W) float, kept (H, W) bool.

    Masks and maps are (N, H, W) or (N, 1, H, W); a nonzero mask pixel is anomalous, a nonzero `ignore` pixel
    is left out. Maps of 16-bit floats or small integers become float32, float64 stays. Raises DataError for
    other shapes, for NaN or infinity in a kept pixel, and where no pixel is kept.
    """
    truth, values = (_stack(array, name) for array, name in ((masks, "masks"), (maps, "maps")))
    if truth.shape != values.shape:
        raise DataError(
            f"masks and maps: got shapes {truth.shape} and {values.shape}; expected the same number of "
            "images and the same size: resize the maps to the masks"
        )
    if truth.dtype.kind == "f":
        check_finite(truth, "masks")
    kept = np.ones(truth.shape[1:], dtype=np.bool_)
    if ignore is not None:
        kept = as_array(ignore, "ignore") == 0
        if kept.shape != truth.shape[1:]:
            raise DataError(f"ignore: got shape {kept.shape}, expected {truth.shape[1:]}, the (H, W) of masks and maps")
        if not kept.any():
            raise DataError("ignore: every pixel is left out, expected some to remain: make the ignored zone smaller")
    scores = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    check_finite(scores[:, kept] if ignore is not None else scores, "maps")
    return truth != 0, scores, kept


def _stack(values: ArrayLike, name: str) -> np.ndarray:
    array = as_array(values, name)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise DataError(
            f"{name}: got shape {array.shape}, expected (N, H, W) or (N, 1, H, W): "
            "add an axis in front for a single image, [None]"
        )
    return array
