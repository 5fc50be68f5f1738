"""What `fit` does with a detector that learns by gradient: split, first pass, training, scores of those kept back."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from offnormal.bundle import describe
from offnormal.config.fields import format_split
from offnormal.config.fit import EmbeddedTrainConfig, TrainConfig
from offnormal.data.batches import Loader
from offnormal.data.dataset import Dataset, Skipped
from offnormal.detectors.base import EmbeddedDetector, TrainedDetector
from offnormal.errors import CalibrationError, FitError
from offnormal.run import Run
from offnormal.scoring import EmbeddedScorer, Scorer
from offnormal.scoring.scorer import explain_memory_error
from offnormal.training import checkpoint
from offnormal.training.embedded import EmbeddedAtFirst, EmbeddingPass, KeptEmbeddings
from offnormal.training.embedding_store import EmbeddingStore
from offnormal.training.gather import Room, gather
from offnormal.training.held_out import score_held_out
from offnormal.training.loop import Job, seed_everything, train
from offnormal.training.samples import Source
from offnormal.training.settings import plan
from offnormal.training.split import keep_back, last_stretches, number_kept_back, split_pictures
from offnormal.training.statistics import Fitted
from offnormal.types import InputSpec, Item
from offnormal.verbs.loading import Progress, load_items

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    learn: Loader
    held: Loader
    asked: int  # samples that were to be kept back, of groups some more


def fit_by_training(
    detector: TrainedDetector,
    dataset: Dataset,
    config: TrainConfig,
    run: Run,
    *,
    device: torch.device,
    wanted: int,
    progress: Progress | None,
) -> Fitted:
    """Train the detector on some of the normals, and score those kept back with it.

    wanted: normals that the rate asked for needs. Raises CalibrationError when too few can be kept back, and what
    `train` raises.
    """
    seed = detector.options.torch_seed
    split = _split_videos if dataset.is_video else _split_pictures
    parts = split(dataset, detector.input, config, seed, wanted, progress)
    if len(parts.learn):
        plan(config, detector, len(parts.learn))  # what cannot be is refused before anything is read
    room = Room(cache=config.cache, folder=Path(config.cache_dir).expanduser(), shared=config.devices > 1)
    sources: list[Source] = []
    skipped: list[Skipped] = []
    try:
        for source, bad in _sources(detector, parts, room, config, device, run):
            sources.append(source)
            skipped += [one for one in bad if one not in skipped]
        learn, held = sources
        run.log("parameters", **_parameters(detector))
        settings = plan(config, detector, len(learn))
        batch = max(1, settings.batch_size // settings.accumulate)
        advice = "raise --accumulate, or lower --batch-size or --size"
        with torch.random.fork_rng(range(torch.cuda.device_count())), explain_memory_error("a batch", advice, FitError):
            seed_everything(seed)
            detector.to(device).prepare(learn.loader(batch))
        identity = {
            **describe(detector),
            "data": dataset.fingerprint("train"),
            "hold_out": config.hold_out,
            "asked_to_keep_back": parts.asked,
            "learned": len(learn),
            "kept_back": len(held),
            "training": settings.fixed(),
        }
        detector.cpu()  # from where it can go to other processes
        trained = train(
            Job(
                detector=detector,
                learn=learn,
                held=held,
                settings=settings,
                run=run.path,
                identity=json.loads(json.dumps(identity)),
                resume=config.resume is not None,
            ),
            device,
            None if progress is None else lambda done, of, note: progress(f"train {detector.name}", done, of, note),
        )
        run.log("trained", **trained._asdict())
        late = settings.is_late(trained.steps)
        early, since = trained.early_loss, trained.best_loss
        if early is not None and since is not None and early < since:
            log.warning(
                "normals kept back were rebuilt better before the embedder began to learn (loss %.4g) than since "
                "(%.4g): try a lower --finetune-rate, more clips, or leave it frozen",
                early,
                since,
            )
        detector.epoch_begins(max(0, trained.epochs - 1), late=late)  # of several processes it has begun in others
        parameters = _parameters(detector)
        learn, held = (source.during(late=late) for source in sources)
        with torch.random.fork_rng(range(torch.cuda.device_count())), explain_memory_error("a batch", advice, FitError):
            seed_everything(seed)
            with torch.no_grad():
                if isinstance(detector, EmbeddedDetector):
                    detector.learn_heads(learn.loader(batch))
                detector.finish(held.loader(batch))
        scorer: Scorer | EmbeddedScorer
        if isinstance(detector, EmbeddedDetector) and isinstance(held, KeptEmbeddings):
            scorer = EmbeddedScorer(detector, device)
        else:
            scorer = Scorer(detector, device)
        return Fitted(
            left_out=score_held_out(scorer, held.loader(batch)),
            skipped=skipped,
            count=len(learn),
            waited_s=parts.learn.waited_s + parts.held.waited_s,
            training={"kept_back": len(held), "parameters": parameters, **trained.rounded()._asdict()},
            is_finished=trained.stopped != "time",
        )
    finally:
        for source in sources:
            source.close()


def _parameters(detector: TrainedDetector) -> dict[str, int]:
    """How many learn, and all."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in detector.parameters()]
    return {"learning": sum(count for count, learns in sizes if learns), "total": sum(count for count, _ in sizes)}


def _sources(
    detector: TrainedDetector, parts: _Parts, room: Room, config: TrainConfig, device: torch.device, run: Run
) -> Iterator[tuple[Source, list[Skipped]]]:
    """Samples to learn from and those kept back, each with its bad files; embedded where the detector learns so."""
    if not isinstance(detector, EmbeddedDetector) or not isinstance(config, EmbeddedTrainConfig):
        yield from (gather(loader, room) for loader in (parts.learn, parts.held))
        return
    start = time.perf_counter()
    store = EmbeddingStore(config.embeddings_dir.expanduser(), int(config.embeddings_gb * 2**30))
    batch = max(1, config.batch_size // config.accumulate)
    detector.to(device).eval()
    embedding = EmbeddingPass(
        detector=detector,
        device=device,
        batch_size=batch,
        room=room,
        store=store if config.embeddings_gb else None,
    )
    with explain_memory_error(
        f"a batch of {batch} samples", "raise --accumulate, or lower --batch-size or --size", FitError
    ):
        for loader, views in ((parts.learn, detector.views), (parts.held, 0)):
            embedded, bad = embedding.embed(loader, views)
            if not detector.learns_late:
                yield embedded, bad
                continue
            pixels, more = gather(loader, room)
            yield EmbeddedAtFirst(embedded, pixels), more
    seconds = round(time.perf_counter() - start, 3)
    run.log("embedded", computed=embedding.computed, found=embedding.found, views=detector.views, seconds=seconds)


def _count(total: int, config: TrainConfig, wanted: int, things: str) -> int:
    """How many samples to keep back: as before in a run that is gone on with, whatever rate is asked for now."""
    if config.resume is not None:
        return int(checkpoint.load(config.resume).state["identity"]["asked_to_keep_back"])
    return number_kept_back(total, share=config.hold_out, wanted=wanted, things=things)


def _split_pictures(
    dataset: Dataset, spec: InputSpec, config: TrainConfig, seed: int, wanted: int, progress: Progress | None
) -> _Parts:
    count = _count(len(dataset.train), config, wanted, "images")
    learn, held = split_pictures(dataset.train, count, seed=seed)
    if len(held) < wanted and config.resume is None:
        number_kept_back(len(held), share=config.hold_out, wanted=wanted)

    def loader(items: Sequence[Item], what: str) -> Loader:
        return load_items(items, spec, config, config, progress=progress, what=f"read {dataset.name}{what}")

    return _Parts(learn=loader(learn, ""), held=loader(held, ", kept back"), asked=count)


def _split_given(dataset: Dataset, learn: Loader, held: Loader, wanted: int, config: TrainConfig) -> _Parts:
    """The parts that the dataset names; CalibrationError when too few are kept back for the rate asked for."""
    number = len(held)
    if wanted > number and config.resume is None:
        things = "clips" if held.spec.scores_whole_video else "frames"
        raise CalibrationError(
            f"the rate asked for needs {wanted} normal {things} kept back from learning, and {number} are: give a "
            f"larger last share of --split ({format_split(config.split)}), more clips, or ask for "
            f"{1 / (number + 1):.2g} or more"
        )
    return _Parts(learn=learn, held=held, asked=number)


def _split_videos(
    dataset: Dataset, spec: InputSpec, config: TrainConfig, seed: int, wanted: int, progress: Progress | None
) -> _Parts:
    videos = dataset.train
    if len(videos) > 1 and len({video.group or video.name for video in videos}) == 1:
        log.warning("all videos are of one group (%s): whole videos of it are kept back", videos[0].group)
        videos = tuple(replace(video, group=None) for video in videos)

    def loader(what: str) -> Loader:
        chosen = dataset.calibration if dataset.calibration and what else videos
        return load_items(
            chosen, spec, config, config, progress=progress, what=f"read {dataset.name}{what}", every_s=config.every
        )

    whole = loader("")
    if dataset.calibration:
        return _split_given(dataset, whole, loader(", kept back"), wanted, config)
    groups = whole.groups()
    total = len(whole)
    count = _count(total, config, wanted, "frames")
    if len(videos) > 1:
        held = keep_back({group: len(whole.with_groups({group})) for group in groups}, count, seed=seed)
    else:
        held = last_stretches(groups, total, count)
    learn = whole.with_groups(set(groups) - held, skip_straddling=True)
    kept = whole.with_groups(set(held), skip_straddling=True)
    learn.progress, kept.progress = loader("").progress, loader(", kept back").progress
    return _Parts(learn=learn, held=kept, asked=count)
