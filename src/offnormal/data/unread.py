"""Finds what a search of folders passes over: unused files, unsupported formats, links, and hidden files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.folder_words import meaning_of, split_mask_name
from offnormal.data.mask_names import without_masks
from offnormal.errors import counted
from offnormal.sources.pages import parse_address
from offnormal.sources.paths import images_in, is_image, is_video, natural_key
from offnormal.types import Item

_RAW = ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .orf .rw2 .raf .pef .srw .x3f .3fr .iiq .raw"
_IMAGES = """.jxl .psd .psb .exr .hdr .pfm .dcm .dicom .nii .fits .fit .svg .eps .tga .ico .pcx .sgi .xcf .jxr .wdp .j2k
    .jpx .j2c .jpc .jpf .bpg .czi .lif .nd2 .svs .ndpi .mrxs"""
_VIDEOS = ".rm .rmvb .swf .f4v .divx .braw .r3d .dav .ivf .av1 .3g2 .mpv .m2v .dv .nut .ogm .wtv"
_ADVICE = {  # suffixes -> advice
    _RAW: "a raw photo; develop it to TIFF or PNG, always in the same way",
    _IMAGES: "this image format is not supported; convert it to PNG or TIFF",
    _VIDEOS: "this video format is not supported; convert it to MP4",
}
_MISLEADING = ".img .image .bak .orig .tmp .dat .bin .jpg_ .png_ .jpgx .pjpeg .thm"  # may be images all the same
_ADVICE_OF = {suffix: advice for suffixes, advice in _ADVICE.items() for suffix in suffixes.split()}
_PLURALS = {
    "copy": "copies",
    "link to a folder": "links to folders",
    "image without an image suffix": "images without an image suffix",
    "mask without an image": "masks without an image",
}
_CONTENT = {  # first bytes of images
    b"\x89PNG\r\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
}


def with_unread(dataset: Dataset, roots: Iterable[Path]) -> Dataset:
    """Return the dataset that also lists what the search of its folders did not read."""
    items = [*dataset.train, *dataset.calibration, *dataset.test]
    masks = [item.masks.path for item in items if item.masks is not None]
    return replace(dataset, skipped=(*dataset.skipped, *list_unread(roots, [*(i.path for i in items), *masks])))


def skipped_near(dataset: Dataset, items: Iterable[Item]) -> list[Skipped]:
    """Return what was not read near these items: the closest folder with items of the dataset has some of them."""
    near, other = _folders_of(items), _folders_of((*dataset.train, *dataset.calibration, *dataset.test))
    return [
        skip
        for skip in dataset.skipped
        if (closest := next((folder for folder in Path(_absolute(skip.path)).parents if folder in other), None)) is None
        or closest in near
    ]


def _folders_of(items: Iterable[Item]) -> set[Path]:
    folders = {Path(_absolute(item.path)).parent for item in items}
    return folders.union(*(folder.parents for folder in folders))


def list_unread(roots: Iterable[Path], read: Collection[Path]) -> list[Skipped]:
    """Return what is in folders and was not read, naturally sorted.

    Masks of images, frames in a folder beside a video that is used, and files that are no media are not listed.
    read: files, images inside files, and folders that are used.
    """
    used = {_absolute((parse_address(path) or (path,))[0]) for path in read}
    skipped: dict[Path, Skipped] = {}
    for root in roots:
        for skip in _walk(root, used):
            skipped.setdefault(skip.path, skip)
    return sorted(skipped.values(), key=lambda skip: natural_key(skip.path))


def list_masks(folder: Path) -> list[Skipped]:
    """Return the images of a folder that are masks by their names, which are not scored."""
    images = set(without_masks(folder))
    return [
        Skipped(path, f"{path}: a mask by its name; name the file itself to score it", "mask")
        for path in images_in(folder)
        if path not in images
    ]


def count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Return the number of skipped files for each kind of reason, the most frequent first."""
    return dict(Counter(skip.kind for skip in skipped).most_common())


def counts_as_json(read: int, skipped: Sequence[Skipped]) -> dict[str, object]:
    """Return the number of items that were read, and what was skipped, for the JSON of any verb."""
    return {
        "read": read,
        "skipped": [{"path": str(bad.path), "reason": bad.reason, "kind": bad.kind} for bad in skipped],
        "skipped_by_reason": count_reasons(skipped),
    }


def describe_counts(read: int, nouns: tuple[str, str], skipped: Sequence[Skipped]) -> str:
    """Return the line that ends a run: how many items were read, and what was skipped, by reason.

    >>> describe_counts(24, ("image", "images"), [])
    'read 24 images, skipped nothing'
    >>> describe_counts(1, ("image", "images"), [Skipped(Path("a.psd"), "a.psd: ...", ".psd file")] * 2)
    'read 1 image, skipped 2: 2 .psd files'
    """
    counts = count_reasons(skipped)
    reasons = ", ".join(counted(number, kind, _PLURALS.get(kind, "")) for kind, number in counts.items())
    what = f"{len(skipped):,}: {reasons}" if skipped else "nothing"
    return f"read {counted(read, *nouns)}, skipped {what}"


def _walk(root: Path, used: Collection[str]) -> Iterator[Skipped]:
    failures: list[OSError] = []
    unused: list[Path] = []
    for folder, folders, files in os.walk(root, onerror=failures.append):
        parent = Path(folder)
        is_used = any(_absolute(path) in used for path in (parent, *parent.parents))
        for name in list(folders):
            path = parent / name
            if name.startswith("."):
                folders.remove(name)
                if _has_media(path):
                    yield Skipped(
                        path, f"{path}: hidden, because its name starts with a dot; rename it", "hidden folder"
                    )
            elif path.is_symlink() and _absolute(path) not in used:
                reason = f"{path}: a link to a folder, which is not followed; name the folder itself"
                yield Skipped(path, reason, "link to a folder")
        for name in files:
            path = parent / name
            if _absolute(path) in used:
                continue
            if (skip := _explain(path)) is not None:
                yield skip
            elif _is_media(path) and not is_used:
                unused.append(path)
    yield from _explain_unused(root, unused, used)
    for error in failures:
        path = Path(error.filename or root)
        reason = f"{path}: the folder cannot be read ({error.strerror}); change its permissions"
        yield Skipped(path, reason, "unreadable folder")


def _explain_unused(root: Path, unused: Sequence[Path], used: Collection[str]) -> Iterator[Skipped]:
    """Say why images and videos are not used; masks and frames of other files have nothing to explain."""
    if not unused:
        return
    images = () if meaning_of(root.name) == "mask" else set(without_masks(root))
    masks = {path for path in unused if is_image(path) and path not in images}
    media = set(unused) - masks
    places = {(path.parent.name, path.stem) for path in (*map(Path, used), *media)}
    stems = {stem for _, stem in places}
    of_videos = {Path(path).parent for path in used if is_video(Path(path))}  # with frames in a folder beside the video
    for path in unused:
        folder, names = path.parent.name, (path.stem, split_mask_name(path.stem))
        if split_mask_name(folder) in stems or (is_image(path) and Path(_absolute(path)).parent.parent in of_videos):
            continue
        if path not in masks:
            kind = f"unused {'video' if is_video(path) else 'image'}"
            yield Skipped(path, f"{path}: no part of the dataset, by its place or its name; move or rename it", kind)
        elif not any((folder, name) in places for name in names) and (
            meaning_of(folder) != "mask" or stems.isdisjoint(names)
        ):
            reason = f"{path}: a mask by its name, but no image has this name; rename it"
            yield Skipped(path, reason, "mask without an image")


def _explain(path: Path) -> Skipped | None:
    """Return why a file is not read; None for files that are no media, or that could have been read."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        if suffix and (_is_media(Path(path.name.lstrip("._") or "x"))):
            return Skipped(path, f"{path}: hidden, because its name starts with a dot; rename it", "hidden file")
        return None
    if _is_media(path):
        if path.is_file():
            return None
        kind = "broken link" if path.is_symlink() else "special file"
        return Skipped(path, f"{path}: a {kind}; expected a regular file", kind)
    if (advice := _ADVICE_OF.get(suffix)) is not None:
        return Skipped(path, f"{path}: {advice}", f"{suffix} file")
    if (not suffix or suffix in _MISLEADING.split()) and (content := _content(path)) is not None:
        reason = f"{path}: a {content} image by its content; give it the suffix .{content.lower()}"
        return Skipped(path, reason, "image without an image suffix")
    return None


def _is_media(path: Path) -> bool:
    return is_image(path) or is_video(path)


def _has_media(folder: Path) -> bool:
    try:
        return any(map(_is_media, folder.iterdir()))
    except OSError:
        return False


def _content(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return None
    return next((name for magic, name in _CONTENT.items() if start.startswith(magic)), None)


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are different files
