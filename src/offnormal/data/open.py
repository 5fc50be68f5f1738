"""The folder a user names -> datasets, its layout recognized or given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from offnormal import registry
from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.dataset import ClassLayout, Dataset, Layout, group_of, is_of_classes
from offnormal.data.layouts.class_folders import ClassFoldersLayout, classes_of, divided, with_split
from offnormal.data.layouts.folder import from_folders, nested
from offnormal.data.layouts.labeled import subfolders
from offnormal.data.layouts.videos import from_videos
from offnormal.errors import DataError
from offnormal.sources.paths import images_in, is_video, to_local_path, videos_in
from offnormal.types import Item

_GENERAL = {"videos": 1, "folder": 2}  # what fits nearly everything is tried last, in this order


def open_datasets(
    data: Path | None = None,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal: Path | None = None,
    test: Path | None = None,
    masks: Path | None = None,
    group_by: str | None = None,
    classes: ClassChoice | None = None,
    split: Split | None = None,
) -> list[Dataset]:
    """One dataset, or one per category with category="all".

    Either `data` (a folder in a registered layout, or one video of normal life) or the plain folders `normal`, `test`,
    `masks`; `normal` and `test` may also be videos or folders of them.
    classes: the normal classes of a dataset of classes (one of images, one or more of clips), and how clips are split;
    split: an earlier split of the same clips, which is used again.
    Raises DataError saying what was found and what each layout expects.
    """
    classes = classes or ClassChoice()
    if data is None:
        if classes.named or category is not None or layout not in (None, "folder", "videos"):
            raise DataError(
                "--layout, --category, --normal-class, and --anomalous-class go with --data, not --normal or --test"
            )
        return [_named(normal, test, masks, layout).grouped(group_by)]
    if normal is not None or test is not None or masks is not None:
        raise DataError("--data goes without --normal, --test and --masks: its layout says what is normal")
    data = to_local_path(data)
    if is_video(data) and data.is_file() and category is None and not classes.named and layout in (None, "videos"):
        return [from_videos(train=data).grouped(group_by)]
    if not data.is_dir():
        raise DataError(f"{data}: {'not a folder' if data.exists() else 'no such folder'}; expected a dataset")
    if split is not None and layout in (None, split.layout) and (again := _divided_before(data, split, classes)):
        return [again]
    form = _form(data, layout, classes)
    if is_of_classes(form):
        return [_divided(data, form, classes, group_by, category)]
    if classes.named:
        category = _as_category(form, data, classes, category)
    if category == "all":
        found = form.categories(data)
        if not found:
            raise DataError(f"{data}: --category all needs a folder of categories; this one is a single category")
        return [form.read(data, name).grouped(group_by) for name in found]
    return [form.read(data, category).grouped(group_by)]


def _form(data: Path, layout: str | None, classes: ClassChoice) -> Layout:
    """The layout that was named or recognized; videos without one are class folders when classes are named."""
    if layout is not None:
        return registry.resolve("layouts", layout)
    if not classes.named:
        return _recognize(data)
    for form in registry.resolve_all("layouts").values():
        if (is_of_classes(form) or getattr(form, "by_class", False)) and form.recognizes(data):
            return form
    return ClassFoldersLayout if videos_in(data, recursive=True) else _recognize(data)


def _divided(
    data: Path, form: ClassLayout, classes: ClassChoice, group_by: str | None, category: str | None
) -> Dataset:
    """Clips divided anew; DataError where they are of no class, or one class alone is named."""
    if category is not None:
        raise DataError(
            f"--category {category}: class folders of clips have no categories; name normal classes with --normal-class"
        )
    clips = form.clips(data)
    if group_by is not None:
        clips = tuple(replace(clip, group=group_of(clip.path, data, group_by)) for clip in clips)
    chosen = classes.among(classes_of(clips), form.default)
    return divided(data, clips, chosen, layout=_name_of(form), group_by=group_by)


def _divided_before(data: Path, split: Split, classes: ClassChoice) -> Dataset | None:
    """The dataset as it was divided; None where the folder holds none of its clips.

    Raises DataError for other classes than were chosen then.
    """
    form = registry.resolve("layouts", split.layout)
    if not is_of_classes(form):
        return None
    try:
        clips = form.clips(data)
    except DataError:
        return None
    if not split.splits.keys() & {clip.name for clip in clips}:
        return None
    if classes.named:
        known = classes_of(clips)
        if set(classes.among(known).normal) != set(split.classes.normal) & set(known):
            raise DataError(
                f"the run has learned that {', '.join(split.classes.normal)} are normal, which its split.json decides: "
                "drop --normal-class and --anomalous-class"
            )
    return with_split(data, tuple(replace(clip, group=_original(clip, data, split)) for clip in clips), split)


def _original(clip: Item, data: Path, split: Split) -> str | None:
    """The original of a clip as it was when the clips were divided, or as it would have been."""
    if clip.name in split.groups:
        return split.groups[clip.name]
    return clip.group if split.group_by is None else group_of(clip.path, data, split.group_by)


def _name_of(form: Layout) -> str:
    return next(name for name, layout in registry.resolve_all("layouts").items() if layout is form)


def _as_category(form: Layout, data: Path, classes: ClassChoice, category: str | None) -> str:
    """The normal class as a category; DataError without classes, for more than one, or next to --category."""
    named = ", ".join(classes.normal or classes.anomalous)
    if not getattr(form, "by_class", False):
        raise DataError(f"--normal-class {named}: the dataset in {data} has no classes; drop the flag")
    if len(classes.normal) != 1 or classes.anomalous:
        raise DataError(f"{data}: expected one --normal-class and no --anomalous-class, got {named}")
    if category is not None:
        raise DataError(f"--normal-class {named} and --category {category} mean the same; drop one")
    return named


def _named(normal: Path | None, test: Path | None, masks: Path | None, layout: str | None) -> Dataset:
    normal, test = (None if p is None else to_local_path(p) for p in (normal, test))
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
        return bool(videos_in(place, recursive=True)) and not images_in(place)
    return is_video(place) and place.is_file()


def _recognize(data: Path) -> Layout:
    forms = registry.resolve_all("layouts")
    for name, form in sorted(forms.items(), key=lambda item: _GENERAL.get(item[0], 0)):
        if form.recognizes(data):
            if name == "folder" and (videos := videos_in(data, recursive=True)):
                raise DataError(
                    f"{data} holds both pictures and videos, such as {videos[0].relative_to(data)}: name what to take, "
                    "--layout folder (the pictures) or --layout videos"
                )
            return form
    inside = [p.name + "/" for p in subfolders(data)][:6] or ["nothing that can be read"]
    expected = "".join(f"\n  {name}: {form.tree}" for name, form in forms.items())
    raise DataError(
        f"{data}: no dataset recognized. It holds {', '.join(inside)}; expected one of{expected}\n"
        "Name the layout with --layout, or plain folders with --normal and --test"
    )
