"""The metrics as slow, readable loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def auroc(labels, scores):
    wins, pairs = 0.0, 0
    for label, score in zip(labels, scores, strict=True):
        for second_label, second in zip(labels, scores, strict=True):
            if label and not second_label:
                pairs += 1
                wins += 1.0 if score > second else 0.5 if score == second else 0.0
    return wins / pairs


def at_threshold(labels, scores, threshold):
    """True positives, false positives, and false negatives for score >= threshold."""
    verdicts = [score >= threshold for score in scores]
    hits = sum(1 for label, call in zip(labels, verdicts, strict=True) if label and call)
    false = sum(1 for label, call in zip(labels, verdicts, strict=True) if not label and call)
    return hits, false, sum(1 for label in labels if label) - hits


def average_precision(labels, scores):
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        hits, false, missed = at_threshold(labels, scores, threshold)
        area += (hits / (hits + missed) - recall) * hits / (hits + false)
        recall = hits / (hits + missed)
    return area


def best_f1(labels, scores):
    best = (-1.0, 0.0)
    for threshold in sorted(set(scores)):
        hits, false, missed = at_threshold(labels, scores, threshold)
        f1 = 2 * hits / (2 * hits + false + missed)
        if f1 > best[0] + 1e-12:
            best = (f1, threshold)
    return best


def regions(mask):
    """8-connected regions as lists of pixels, by flood fill."""
    unvisited = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    result = []
    while unvisited:
        queue, region = [unvisited.pop()], []
        while queue:
            row, column = queue.pop()
            region.append((row, column))
            for pixel in [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]:
                if pixel in unvisited:
                    unvisited.remove(pixel)
                    queue.append(pixel)
        result.append(region)
    return result


def aupro(masks, maps, fpr_limit, ignore=None):
    counted = np.ones(maps.shape[1:], bool) if ignore is None else ~np.asarray(ignore, bool)
    groups = []
    for mask, values in zip(masks, maps, strict=True):
        for region in regions(mask):
            group = [values[pixel] for pixel in region if counted[pixel]]
            if group:
                groups.append(group)
    normal = [
        values[pixel]
        for mask, values in zip(masks, maps, strict=True)
        for pixel in np.ndindex(mask.shape)
        if counted[pixel] and not mask[pixel]
    ]
    curve = [(0.0, 0.0)]
    for threshold in sorted({*normal, *(value for group in groups for value in group)}, reverse=True):
        overlaps = [sum(1 for value in group if value >= threshold) / len(group) for group in groups]
        false = sum(1 for value in normal if value >= threshold) / len(normal)
        curve.append((false, sum(overlaps) / len(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 < fpr_limit and x1 > x0:
            end = min(x1, fpr_limit)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / fpr_limit
