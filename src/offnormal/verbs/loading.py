"""Datasets and loaders of the verbs, for images and videos, with progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from offnormal.config.model import VerbConfig
from offnormal.data.batches import Loader
from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.dataset import Dataset
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.data.unread import with_unread
from offnormal.data.video_loader import VideoOptions
from offnormal.errors import DataError, UsageError
from offnormal.files import write_text
from offnormal.input_files import load_json, read_text
from offnormal.types import InputSpec, Item

if TYPE_CHECKING:
    from offnormal.bundle import Bundle
    from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig


class Progress(Protocol):
    """Receives progress."""

    def __call__(self, task: str, done: int, total: int, note: str = "", /) -> None:
        """Report a task: items done, their total, and a note such as the current loss."""
        ...


STRETCHES = 10  # of a single video, which serve as its groups


def open_configured(config: DataConfig, split: Split | None = None) -> list[Dataset]:
    """Open the datasets of a configuration; split: an earlier split of the clips, to be used again."""
    datasets = open_datasets(
        config.data,
        layout=config.layout,
        category=config.category,
        normal=config.normal,
        test=config.test,
        masks=config.masks,
        mask_suffix=config.mask_suffix,
        group_by=config.group_by,
        classes=ClassChoice(
            normal=tuple(config.normal_class or ()),
            anomalous=tuple(config.anomalous_class or ()),
            shares=config.split,
            seed=config.split_seed,
        ),
        split=split,
    )
    folders = [path for path in (config.normal, config.test, config.masks) if path is not None]
    if config.data is None or not config.data.is_dir():
        return [with_unread(dataset, folders) for dataset in datasets]
    return [with_unread(dataset, [dataset.root]) for dataset in datasets]


SPLIT = "split.json"
ONLY_FRAMES = "applies to single frames, and this detector gives one score per clip"


def refuse_options(config: VerbConfig, options: Sequence[str], why: str) -> None:
    """Raise UsageError for the first of these options, or those of a nested model, that was set: its name, then why."""
    for option in options:
        value = getattr(config, option)
        if isinstance(value, VerbConfig):
            refuse_options(value, sorted(value.model_fields_set), why)
        elif value is not None and value is not False:
            raise UsageError(f"--{option.replace('_', '-')} {why}: drop it")


def read_split(path: Path) -> Split | None:
    """Return the clip split of the run that a path (a run or its bundle) belongs to; None if the run has none.

    Raises DataError for a damaged file.
    """
    file = next((folder / SPLIT for folder in (path, path.parent) if (folder / SPLIT).is_file()), None)
    if file is None:
        return None
    try:
        values = load_json(read_text(file))
        return Split.from_json(values)
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"{file}: damaged ({error}); copy it again from the run of the fit") from None


def known_classes(bundle: Bundle) -> frozenset[str]:
    """Return the classes of the clip split in a bundle's run; empty if there is none."""
    split = None if bundle.path is None else read_split(bundle.path)
    return frozenset() if split is None else frozenset((*split.classes.normal, *split.classes.anomalous))


def write_split(folder: Path, split: Split) -> None:
    """Write split.json to a run folder."""
    write_text(folder / SPLIT, json.dumps(split.to_json(), indent=1, ensure_ascii=False) + "\n")


def load_items(
    items: Sequence[Item],
    spec: InputSpec,
    compute: ComputeConfig,
    footage: FootageConfig,
    *,
    progress: Progress | None,
    task: str,
    masks: bool = False,
    every_s: float | None = None,
    reread: bool = False,
) -> Loader:
    """Open a loader of items that reports `task` to progress; reread: more than one pass, so caching pays."""
    groups = {item.group if item.group is not None else item.name for item in items}
    loader = open_loader(
        items,
        spec,
        batch_size=compute.batch_size,
        masks=masks,
        on_error=compute.on_error,
        workers=compute.workers,
        videos=VideoOptions(
            every_s=every_s,
            cache=footage.cache if reread else "off",
            cache_dir=Path(footage.cache_dir).expanduser(),
            fps=footage.fps,
            stretches=STRETCHES if len(groups) == 1 else 1,
        ),
    )
    loader.progress = count_steps(progress, task, lambda: len(loader))
    return loader


def count_steps(
    progress: Progress | None, task: str, total: Callable[[], int] | None = None
) -> Callable[[int], None] | None:
    """Return a callback that adds steps and reports to `progress`; `total` is called once, at the first step."""
    if progress is None:
        return None
    done = 0
    expected: int | None = None

    def count(step: int) -> None:
        nonlocal done, expected
        if expected is None:
            expected = 0 if total is None else total()
        done += step
        progress(task, done, max(done, expected))

    return count
