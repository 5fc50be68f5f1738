"""Embeddings and latents of units on a plane (t-SNE), a color for each class."""

from __future__ import annotations

import numpy as np

from offnormal.drawing.scatter import class_keys, project, scatter, some
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Element, Legend, Plot, Plots, Text
from offnormal.types import ANOMALOUS


def plane(evaluation: Evaluation) -> Block | None:
    """None where the detector gives no vectors, or there are too few units."""
    vectors = {"Embeddings": evaluation.embeddings, "Latents": evaluation.latents}
    if all(values is None for values in vectors.values()):
        return None
    table, several = evaluation.table, TRAITS[evaluation.unit].noun[1]
    rows = some(len(table))
    is_anomalous = table.label[rows] == ANOMALOUS
    names = table.item_column(lambda item: item.class_name)
    classes = [names[row] or ("anomalous" if flag else "normal") for row, flag in zip(rows, is_anomalous, strict=True)]
    keys = class_keys(classes, [name for name, flag in zip(classes, is_anomalous, strict=True) if flag])
    tested = table.tested[rows]
    plots = []
    for title, values in vectors.items():
        places = None if values is None else project(np.asarray(values)[rows])
        if places is not None:
            svg = scatter(places, classes, tested, keys, f"t-SNE of the {title.lower()}")
            plots.append(Plot(svg=svg, title=title, style="plane"))
    if not plots:
        return None
    note = (
        f"t-SNE: {several} close to each other are alike; distances between clusters and their sizes mean nothing. "
        f"Crosses: anomalous classes.{'' if tested.all() else f' Faint: {several} of training and calibration.'}"
    )
    legend = [(key.action, f"run-{key.number}", "cross" if key.anomalous else "circle") for key in keys]
    elements: list[Element] = [Legend(legend), Plots(plots=plots, columns="two"), Text(text=note, tone="quiet")]
    return Block(name="plane", title=f"{several.capitalize()} as the detector sees them", elements=elements)
