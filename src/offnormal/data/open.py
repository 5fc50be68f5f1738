"""The folder a user names -> data sets, its layout recognised or given."""

from __future__ import annotations

from pathlib import Path

from offnormal import registry
from offnormal.data.dataset import Dataset, Layout
from offnormal.data.layouts.folder import from_folders, nested
from offnormal.data.layouts.labelled import subfolders
from offnormal.data.layouts.videos import from_videos
from offnormal.data.video_dataset import VideoDataset
from offnormal.errors import DataError
from offnormal.sources.paths import as_written, pictures_in
from offnormal.sources.video_paths import is_video, videos_in

_GENERAL = {"videos": 1, "folder": 2}  # what fits nearly everything is tried last, in this order


def open_datasets(
    data: Path | None = None,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal_class: str | None = None,
    normal: Path | None = None,
    test: Path | None = None,
    masks: Path | None = None,
    group_by: str | None = None,
) -> list[Dataset | VideoDataset]:
    """One data set, or one per category with category="all".

    Either `data` (a folder in a registered layout, or one video of normal life) or the plain folders `normal`, `test`,
    `masks`; `normal` and `test` may also be videos or folders of them. Where the categories of a layout are classes,
    `normal_class` is another word for `category`: the normal one.
    Raises DataError saying what was found and what each layout expects.
    """
    if data is None:
        if category is not None or normal_class is not None or layout not in (None, "folder", "videos"):
            raise DataError("--layout, --category and --normal-class go with --data, not with --normal and --test")
        return [_named(normal, test, masks, layout).grouped(group_by)]
    if normal is not None or test is not None or masks is not None:
        raise DataError("--data goes without --normal, --test and --masks: its layout says what is normal")
    data = as_written(data)
    if is_video(data) and data.is_file() and category is None and normal_class is None and layout in (None, "videos"):
        return [from_videos(train=data).grouped(group_by)]
    if not data.is_dir():
        raise DataError(f"{data}: {'not a folder' if data.exists() else 'no such folder'}; expected a data set")
    form = registry.resolve("layouts", layout) if layout else _recognise(data)
    if normal_class is not None:
        category = _as_category(form, data, normal_class, category)
    if category == "all":
        found = form.categories(data)
        if not found:
            raise DataError(f"{data}: --category all needs a folder of categories; this one is a single category")
        return [form.read(data, name).grouped(group_by) for name in found]
    return [form.read(data, category).grouped(group_by)]


def _as_category(form: Layout, data: Path, normal_class: str, category: str | None) -> str:
    """The class as the category that it is; DataError where there are no classes, or both are named."""
    if not getattr(form, "by_class", False):
        raise DataError(f"--normal-class {normal_class}: the data set in {data} has no classes; leave it out")
    if category is not None:
        raise DataError(f"--normal-class {normal_class} and --category {category} say the same; give one of them")
    return normal_class


def _named(normal: Path | None, test: Path | None, masks: Path | None, layout: str | None) -> Dataset | VideoDataset:
    normal, test = (None if p is None else as_written(p) for p in (normal, test))
    given = [place for place in (normal, test) if place is not None]
    if layout != "videos" and not (given and all(_holds_videos(place) for place in given)):
        return from_folders(normal=normal, test=test, masks=masks)
    for place in given:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder")
    if masks is not None:
        raise DataError(f"--masks {masks} goes with pictures; those of videos lie in a folder masks beside --test")
    if normal is not None and test is not None and nested(normal, test):
        raise DataError(f"--normal {normal} and --test {test} share videos: keep them in folders apart")
    return from_videos(train=normal, test=test)


def _holds_videos(place: Path) -> bool:
    if place.is_dir():
        return bool(videos_in(place, recursive=True)) and not pictures_in(place)
    return is_video(place) and place.is_file()


def _recognise(data: Path) -> Layout:
    forms: dict[str, Layout] = {name: registry.resolve("layouts", name) for name in registry.names("layouts")}
    for name, form in sorted(forms.items(), key=lambda item: _GENERAL.get(item[0], 0)):
        if form.recognises(data):
            if name == "folder" and (videos := videos_in(data, recursive=True)):
                raise DataError(
                    f"{data} holds both pictures and videos, such as {videos[0].relative_to(data)}: name what to take, "
                    "--layout folder (the pictures) or --layout videos"
                )
            return form
    inside = [p.name + "/" for p in subfolders(data)][:6] or ["nothing that can be read"]
    expected = "".join(f"\n  {name}: {form.tree}" for name, form in forms.items())
    raise DataError(
        f"{data}: no data set recognised. It holds {', '.join(inside)}; expected one of{expected}\n"
        "Name the layout with --layout, or plain folders with --normal and --test"
    )
