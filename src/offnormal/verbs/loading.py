"""Loaders for whatever a verb was given: pictures or videos, with one progress for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from offnormal.data.batches import Loader
from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.dataset import Dataset
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.data.video_loader import VideoOptions
from offnormal.errors import DataError
from offnormal.files import write_text
from offnormal.types import InputSpec, Item

if TYPE_CHECKING:
    from offnormal.bundle import Bundle
    from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig


class Progress(Protocol):
    """Hears how far something is."""

    def __call__(self, what: str, done: int, total: int, note: str = "", /) -> None:
        """What is done, how many are done, of how many, and how it goes."""
        ...


STRETCHES = 10  # that a single video is cut into, so that some of it can be left out


def open_configured(config: DataConfig, split: Split | None = None) -> list[Dataset]:
    """The datasets that a configuration names. split: an earlier division of its clips, which then holds."""
    return open_datasets(
        config.data,
        layout=config.layout,
        category=config.category,
        normal=config.normal,
        test=config.test,
        masks=config.masks,
        group_by=config.group_by,
        classes=ClassChoice(
            normal=tuple(config.normal_class or ()),
            anomalous=tuple(config.anomalous_class or ()),
            shares=config.split,
            seed=config.split_seed,
        ),
        split=split,
    )


SPLIT = "split.json"


def split_beside(path: Path) -> Split | None:
    """How the run that a bundle (or the run itself) lies in divided its clips; None where it had nothing to divide.

    Raises DataError for a damaged file.
    """
    file = next((place / SPLIT for place in (path, path.parent) if (place / SPLIT).is_file()), None)
    if file is None:
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Split.from_json(values)
    except (ValueError, DataError) as error:
        raise DataError(f"{file}: damaged ({error}); copy it again from the run that was fitted") from None


def known_classes(bundle: Bundle) -> frozenset[str]:
    """The classes by which the run of a bundle divided its clips; none of a bundle that is not in its run."""
    split = None if bundle.path is None else split_beside(bundle.path)
    return frozenset() if split is None else frozenset((*split.classes.normal, *split.classes.anomalous))


def write_split(folder: Path, split: Split) -> None:
    """split.json in a run's folder."""
    write_text(folder / SPLIT, json.dumps(split.to_json(), indent=1, ensure_ascii=False) + "\n")


def load_items(
    items: Sequence[Item],
    spec: InputSpec,
    compute: ComputeConfig,
    footage: FootageConfig,
    *,
    progress: Progress | None,
    what: str,
    masks: bool = False,
    every_s: float | None = None,
    again: bool = False,
) -> Loader:
    """A loader of items; progress hears `what` is done. again: it is passed over more than once: caching pays."""
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
            cache=footage.cache if again else "off",
            cache_dir=Path(footage.cache_dir).expanduser(),
            fps=footage.fps,
            stretches=STRETCHES if len(groups) == 1 else 1,
        ),
    )
    loader.progress = count_steps(progress, what, lambda: len(loader))
    return loader


def count_steps(
    progress: Progress | None, what: str, total: Callable[[], int] | None = None
) -> Callable[[int], None] | None:
    """A callback for steps that reports to `progress`; the total is asked for once, at the first step."""
    if progress is None:
        return None
    done = 0
    expected: int | None = None

    def count(step: int) -> None:
        nonlocal done, expected
        if expected is None:
            expected = 0 if total is None else total()
        done += step
        progress(what, done, max(done, expected))

    return count
