"""The folder a user names -> data sets, its layout recognised or given."""

from __future__ import annotations

from pathlib import Path

from offnormal import registry
from offnormal.data.dataset import Dataset, Layout
from offnormal.data.layouts.folder import from_folders
from offnormal.data.layouts.labelled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import as_written


def open_datasets(
    data: Path | None = None,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal: Path | None = None,
    test: Path | None = None,
    masks: Path | None = None,
    group_by: str | None = None,
) -> list[Dataset]:
    """One data set, or one per category with category="all".

    Either `data` (a folder in a registered layout) or the plain folders `normal`, `test`, `masks`.
    Raises DataError saying what was found and what each layout expects.
    """
    if data is None:
        if category is not None or layout not in (None, "folder"):
            raise DataError("--layout and --category go with --data, not with --normal and --test")
        return [from_folders(normal=normal, test=test, masks=masks).grouped(group_by)]
    if normal is not None or test is not None or masks is not None:
        raise DataError("--data goes without --normal, --test and --masks: its layout says what is normal")
    data = as_written(data)
    if not data.is_dir():
        raise DataError(f"{data}: {'not a folder' if data.exists() else 'no such folder'}; expected a data set")
    form = registry.resolve("layouts", layout) if layout else _recognise(data)
    if category == "all":
        found = form.categories(data)
        if not found:
            raise DataError(f"{data}: --category all needs a folder of categories; this one is a single category")
        return [form.read(data, name).grouped(group_by) for name in found]
    return [form.read(data, category).grouped(group_by)]


def _recognise(data: Path) -> Layout:
    forms: dict[str, Layout] = {name: registry.resolve("layouts", name) for name in registry.names("layouts")}
    for _, form in sorted(forms.items(), key=lambda item: item[0] == "folder"):  # which fits nearly everything: last
        if form.recognises(data):
            return form
    inside = [p.name + "/" for p in subfolders(data)][:6] or ["nothing that can be read"]
    expected = "".join(f"\n  {name}: {form.tree}" for name, form in forms.items())
    raise DataError(
        f"{data}: no data set recognised. It holds {', '.join(inside)}; expected one of{expected}\n"
        "Name the layout with --layout, or plain folders with --normal and --test"
    )
