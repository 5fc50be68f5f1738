"""Checks of labels, scores, masks, and maps for all metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


def as_array(values: ArrayLike, name: str) -> np.ndarray:
    """Convert numbers or booleans of any shape to an array; DataError for other types and for no values."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name}: {type(values).__name__} is not an array of numbers ({error}); "
            "expected a list or numpy array: call .detach().float().cpu() on a tensor first"
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: values of type {array.dtype}; expected numbers: convert them, or remove items without a number"
        )
    if array.size == 0:
        raise DataError(f"{name}: no values; expected at least one: check that data were loaded and scored")
    return array


def as_binary(values: ArrayLike, name: str) -> BoolArray:
    """Convert 0/1 or booleans of any shape to (n,) bool; DataError for other values.

    >>> as_binary([[0], [1.0]], "labels").tolist()
    [False, True]
    """
    array = as_array(values, name).ravel()
    ones: BoolArray = array == 1
    invalid = array[~ones & (array != 0)]
    if invalid.size:
        values_text = ", ".join(f"{value:g}" for value in np.unique(invalid)[:5])
        raise DataError(f"{name}: values {values_text}; expected only 0 (normal) and 1 (anomalous): recode them")
    return ones


def as_finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Convert numbers of any shape to (n,) float64; DataError for NaN and infinite values."""
    array = as_array(values, name).ravel().astype(np.float64)
    check_finite(array, name)
    return array


def check_finite(array: FloatArray, name: str) -> None:
    """Raise DataError for NaN and infinite values, with their number and first position."""
    invalid = np.flatnonzero(~np.isfinite(array))
    if invalid.size:
        raise DataError(
            f"{name}: {invalid.size} of {array.size} values are NaN or infinite, the first at position "
            f"{invalid[0]}; expected finite numbers: check the image and the detector"
        )


def labeled_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, NDArray[np.float64]]:
    """Convert labels and scores to (n,) bool and (n,) float64.

    Both may have any shape. Raises DataError for different shapes and as in `as_binary` and `as_finite`.
    """
    truth, ranks = as_array(labels, "labels"), as_array(scores, "scores")
    sides = [tuple(side for side in array.shape if side != 1) for array in (truth, ranks)]
    if truth.size != ranks.size or (sides[0] != sides[1] and min(map(len, sides)) > 1):
        raise DataError(
            f"labels and scores: shapes {truth.shape} and {ranks.shape}; "
            "expected one score for each label, in the same order"
        )
    return as_binary(truth, "labels"), as_finite(ranks, "scores")


def check_both_classes(anomalous: int, normal: int, unit: str) -> None:
    """Raise DataError unless both classes are present; unit: "labels" or "pixels"."""
    if not anomalous or not normal:
        missing, present = ("anomalous", "normal") if normal else ("normal", "anomalous")
        raise DataError(
            f"{unit}: all {anomalous + normal} are {present}; expected both normal and anomalous ones: "
            f"add {missing} ones to the test data"
        )


def pixel_arrays(
    masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None
) -> tuple[BoolArray, FloatArray, BoolArray]:
    """Convert masks, maps, and `ignore` to masks (N, H, W) bool, maps (N, H, W) float, counted (H, W) bool.

    Masks and maps are (N, H, W) or (N, 1, H, W); a nonzero mask pixel is anomalous, a nonzero `ignore` pixel is not
    counted. Maps of 16-bit floats or small integers become float32, float64 stays. Raises DataError for other shapes,
    for NaN or infinity in a counted pixel, and if no pixel is counted.
    """
    truth, values = (_stack(array, name) for array, name in ((masks, "masks"), (maps, "maps")))
    if truth.shape != values.shape:
        raise DataError(
            f"masks and maps: shapes {truth.shape} and {values.shape}; expected the same number of "
            "images and the same size: resize the maps to the masks"
        )
    if truth.dtype.kind == "f":
        check_finite(truth, "masks")
    counted = np.ones(truth.shape[1:], dtype=np.bool_)
    if ignore is not None:
        counted = as_array(ignore, "ignore") == 0
        if counted.shape != truth.shape[1:]:
            raise DataError(f"ignore: shape {counted.shape}; expected {truth.shape[1:]}, the (H, W) of masks and maps")
        if not counted.any():
            raise DataError("ignore: covers every pixel; expected fewer: make the ignored zone smaller")
    scores = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    check_finite(scores[:, counted] if ignore is not None else scores, "maps")
    return truth != 0, scores, counted


def _stack(values: ArrayLike, name: str) -> np.ndarray:
    array = as_array(values, name)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise DataError(
            f"{name}: shape {array.shape}; expected (N, H, W) or (N, 1, H, W): "
            "add an axis for a single image with [None]"
        )
    return array
