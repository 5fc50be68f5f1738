"""Opens the datasets in a folder, in a layout that is named or recognized."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from offnormal import registry
from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.dataset import ClassLayout, Dataset, Layout, is_class_layout, match_group
from offnormal.data.layouts.class_folders import ClassFoldersLayout, apply_split, classes_of, split_dataset
from offnormal.data.layouts.folder import are_nested, from_folders, from_masked_folder
from offnormal.data.layouts.labeled import subfolders
from offnormal.data.layouts.manifest import is_manifest, read_manifest
from offnormal.data.layouts.videos import VideosLayout, from_videos
from offnormal.data.plain_tree import check_plain
from offnormal.errors import DataError
from offnormal.sources.paths import images_in, is_video, to_local_path, videos_in
from offnormal.types import Item

_LAST = {"videos": 1, "folder": 2}  # layouts that fit nearly every folder are tried last, in this order


def open_datasets(
    data: Path | None = None,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal: Path | None = None,
    test: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str | None = None,
    group_by: str | None = None,
    classes: ClassChoice | None = None,
    split: Split | None = None,
    accepts_mixed: bool | None = None,
) -> list[Dataset]:
    """Open one dataset, or one per category with category="all"; each page of a file with several is an item.

    Expects either `data` (a folder in a registered layout, a manifest, or a normal video) or the plain folders
    `normal`, `test`, and `masks`; `normal` and `test` may also be videos or folders of videos. A plain folder that
    contains more than normal images by the names in it is refused, unless its layout is named (folder, videos).
    accepts_mixed overrides this. mask_suffix: the ending of the names of masks, beside the images or in `masks`.
    classes: the normal classes (one for images, one or more for clips), and how clips are split. split: an earlier
    split of the same clips to use again.
    Raises DataError with the content of the folder and the tree that each layout expects.
    """
    classes = classes or ClassChoice()
    if data is None:
        if classes.names_classes or category is not None or layout not in (None, "folder", "videos"):
            raise DataError(
                "--layout, --category, --normal-class, and --anomalous-class need --data, not --normal or --test"
            )
        accepts_mixed = layout is not None if accepts_mixed is None else accepts_mixed
        plain = _open_plain(normal, test, masks, mask_suffix, layout, is_checked=not accepts_mixed)
        return [plain.with_pages().with_group_by(group_by)]
    if normal is not None or test is not None or masks is not None:
        raise DataError("--data with --normal, --test, or --masks: use --data alone, or only the other options")
    data = to_local_path(data)
    if dataset := _open_single(data, layout, mask_suffix, may_be_plain=not category and not classes.names_classes):
        return [dataset.with_pages().with_group_by(group_by)]
    if not data.is_dir():
        raise DataError(f"{data}: {'not a folder' if data.exists() else 'no such folder'}; expected a dataset folder")
    if split is not None and layout in (None, split.layout) and (dataset := _reuse_split(data, split, classes)):
        return [dataset]
    chosen = _choose_layout(data, layout, classes)
    if is_class_layout(chosen):
        return [_split_classes(data, chosen, classes, group_by, category)]
    if classes.names_classes:
        category = _class_as_category(chosen, data, classes, category)
    if category == "all":
        names = chosen.categories(data)
        if not names:
            raise DataError(f"{data}: a single category; --category all expects a folder of categories; omit it")
        return [chosen.read(data, name).with_pages().with_group_by(group_by) for name in names]
    return [chosen.read(data, category).with_pages().with_group_by(group_by)]


def _open_single(data: Path, layout: str | None, mask_suffix: str | None, *, may_be_plain: bool) -> Dataset | None:
    """Open a file, or a folder that is plain because an option says so; None for all others."""
    if mask_suffix is not None:
        if not may_be_plain or layout not in (None, "folder"):
            raise DataError("--mask-suffix needs plain folders; expected no --layout, --category, and classes with it")
        return from_masked_folder(data, mask_suffix) if data.is_dir() else None
    if not may_be_plain:
        return None
    if layout in (None, "manifest") and is_manifest(data):
        return read_manifest(data)
    if layout in (None, "videos") and is_video(data) and data.is_file():
        return from_videos(train=data)
    if layout == "videos" and data.is_dir():
        return VideosLayout.read(data, is_checked=False)
    return from_folders(normal=data, is_checked=False) if layout == "folder" and data.is_dir() else None


def _choose_layout(data: Path, layout: str | None, classes: ClassChoice) -> Layout:
    """Return the named or recognized layout; for videos with named classes, class folders are the fallback."""
    if layout is not None:
        return registry.resolve("layouts", layout)
    if not classes.names_classes:
        return _recognize(data)
    for name, candidate in registry.resolve_all("layouts").items():
        has_classes = is_class_layout(candidate) or getattr(candidate, "categories_are_classes", False)
        if has_classes and registry.recognizes(name, candidate, data):
            return candidate
    return ClassFoldersLayout if videos_in(data, recursive=True) else _recognize(data)


def _split_classes(
    data: Path, layout: ClassLayout, classes: ClassChoice, group_by: str | None, category: str | None
) -> Dataset:
    """Create a new split of the clips; DataError for --category and for clips without a class."""
    if category is not None:
        raise DataError(f"--category {category}: class folders of clips have no categories; use --normal-class")
    clips = layout.clips(data)
    if group_by is not None:
        clips = tuple(replace(clip, group=match_group(clip.path, data, group_by)) for clip in clips)
    chosen = classes.complete(classes_of(clips), layout.default_classes)
    return split_dataset(data, clips, chosen, layout=_registered_name(layout), group_by=group_by)


def _reuse_split(data: Path, split: Split, classes: ClassChoice) -> Dataset | None:
    """Return the dataset with an earlier split; None if the folder contains none of its clips.

    Raises DataError for other normal classes than those of the split.
    """
    layout = registry.resolve("layouts", split.layout)
    if not is_class_layout(layout):
        return None
    try:
        clips = layout.clips(data)
    except DataError:
        return None
    if not split.splits.keys() & {clip.name for clip in clips}:
        return None
    if classes.names_classes:
        available = classes_of(clips)
        if set(classes.complete(available).normal) != set(split.classes.normal) & set(available):
            raise DataError(
                f"the run was trained with the normal classes {', '.join(split.classes.normal)} (split.json); expected "
                "the same classes: omit --normal-class and --anomalous-class"
            )
    return apply_split(data, tuple(replace(clip, group=_original(clip, data, split)) for clip in clips), split)


def _original(clip: Item, data: Path, split: Split) -> str | None:
    """Return the original of a clip in the split, or the one that a new clip would have."""
    if clip.name in split.groups:
        return split.groups[clip.name]
    return clip.group if split.group_by is None else match_group(clip.path, data, split.group_by)


def _registered_name(layout: Layout) -> str:
    return next(name for name, registered in registry.resolve_all("layouts").items() if registered is layout)


def _class_as_category(layout: Layout, data: Path, classes: ClassChoice, category: str | None) -> str:
    """Return the normal class as a category; DataError without classes, for more than one, or with --category."""
    names = ", ".join(classes.normal or classes.anomalous)
    if not getattr(layout, "categories_are_classes", False):
        raise DataError(f"--normal-class {names}: the dataset in {data} has no classes; omit the option")
    if len(classes.normal) != 1 or classes.anomalous:
        raise DataError(f"{data}: got the classes {names}; expected one --normal-class and no --anomalous-class")
    if category is not None:
        raise DataError(f"--normal-class {names} and --category {category} mean the same; omit one")
    return names


def _open_plain(
    normal: Path | None,
    test: Path | None,
    masks: Path | None,
    mask_suffix: str | None,
    layout: str | None,
    *,
    is_checked: bool,
) -> Dataset:
    normal, test = (None if p is None else to_local_path(p) for p in (normal, test))
    paths = [path for path in (normal, test) if path is not None]
    if layout != "videos" and not (paths and all(_contains_videos(path) for path in paths)):
        return from_folders(normal=normal, test=test, masks=masks, mask_suffix=mask_suffix, is_checked=is_checked)
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    if masks is not None or mask_suffix is not None:
        flag = f"--masks {masks}" if masks is not None else f"--mask-suffix {mask_suffix}"
        raise DataError(f"{flag}: expected images; for videos put the masks in a folder masks next to --test")
    if normal is not None and test is not None and are_nested(normal, test):
        raise DataError(f"--normal {normal} and --test {test} share videos; use separate folders")
    return from_videos(train=normal, test=test, is_checked=is_checked)


def _contains_videos(path: Path) -> bool:
    if path.is_dir():
        return bool(videos_in(path, recursive=True)) and not images_in(path)
    return is_video(path) and path.is_file()


def _recognize(data: Path) -> Layout:
    layouts = registry.resolve_all("layouts")
    for name, layout in sorted(layouts.items(), key=lambda item: _LAST.get(item[0], 0)):
        if registry.recognizes(name, layout, data):
            if name == "folder" and (videos := videos_in(data, recursive=True)):
                raise DataError(
                    f"{data} contains images and videos, such as {videos[0].relative_to(data)}; choose one with "
                    "--layout folder (images) or --layout videos"
                )
            return layout
    check_plain(data, images_in(data))
    contents = [p.name + "/" for p in subfolders(data)][:6] or ["no readable files"]
    expected = "".join(f"\n  {name}: {layout.tree}" for name, layout in layouts.items())
    raise DataError(
        f"{data}: no dataset recognized. It contains {', '.join(contents)}; expected one of{expected}\n"
        "Name the layout with --layout, or plain folders with --normal and --test"
    )
