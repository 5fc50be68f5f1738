"""`fit` for detectors trained by gradient descent: split, first pass, training, and scores of held-out normals."""

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
from offnormal.training.embedded import EmbeddingPass, EmbeddingsThenPixels, StoredEmbeddings
from offnormal.training.embedding_store import EmbeddingStore
from offnormal.training.gather import Storage, gather
from offnormal.training.held_out import score_held_out
from offnormal.training.loop import Job, seed_everything, train
from offnormal.training.samples import Source
from offnormal.training.settings import plan
from offnormal.training.split import choose_held_out, choose_last_stretches, count_held_out, split_images
from offnormal.training.statistics import Fitted
from offnormal.types import InputSpec, Item
from offnormal.verbs.loading import Progress, load_items

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaders:
    training: Loader
    held_out: Loader
    hold_out_count: int  # requested held-out samples; whole groups may have more


def fit_by_training(
    detector: TrainedDetector,
    dataset: Dataset,
    config: TrainConfig,
    run: Run,
    *,
    device: torch.device,
    needed: int,
    progress: Progress | None,
) -> Fitted:
    """Train the detector on some of the normals, and score the held-out ones with it.

    needed: normals that the requested rate needs. Raises CalibrationError if too few can be held out, and the errors
    of `train`.
    """
    seed = detector.options.torch_seed
    split = _split_videos if dataset.is_video else _split_images
    loaders = split(dataset, detector.input, config, seed, needed, progress)
    if len(loaders.training):
        plan(config, detector, len(loaders.training))  # raises before any data is read
    storage = Storage(cache=config.cache, folder=Path(config.cache_dir).expanduser(), shared=config.devices > 1)
    sources: list[Source] = []
    skipped: list[Skipped] = []
    try:
        for source, bad in _sources(detector, loaders, storage, config, device, run):
            sources.append(source)
            skipped += [skip for skip in bad if skip not in skipped]
        training, held_out = sources
        run.log("parameters", **_parameters(detector))
        settings = plan(config, detector, len(training))
        batch = max(1, settings.batch_size // settings.accumulate)
        advice = "raise --accumulate, or lower --batch-size or --size"
        with torch.random.fork_rng(range(torch.cuda.device_count())), explain_memory_error("a batch", advice, FitError):
            seed_everything(seed)
            detector.to(device).prepare(training.loader(batch))
        identity = {
            **describe(detector),
            "data": dataset.fingerprint("train"),
            "hold_out": config.hold_out,
            "hold_out_count": loaders.hold_out_count,
            "training_samples": len(training),
            "held_out_samples": len(held_out),
            "training": settings.fixed(),
        }
        detector.cpu()  # so that it can be sent to other processes

        def report(done: int, total: int, note: str) -> None:
            if progress is not None:
                progress(f"train {detector.name}", done, total, note)

        trained = train(
            Job(
                detector=detector,
                training=training,
                held_out=held_out,
                settings=settings,
                run=run.path,
                identity=json.loads(json.dumps(identity)),
                resume=config.resume is not None,
            ),
            device,
            report,
        )
        run.log("trained", **trained._asdict())
        fine_tuning = settings.is_fine_tuning(trained.steps)
        frozen_loss, best_loss = trained.frozen_loss, trained.best_loss
        if frozen_loss is not None and best_loss is not None and best_loss > frozen_loss:
            log.warning(
                "held-out normals had a lower loss before fine-tuning (%.4g) than since (%.4g): try a lower "
                "--finetune-rate or more clips, or keep the embedder frozen",
                frozen_loss,
                best_loss,
            )
        detector.start_epoch(max(0, trained.epochs - 1), fine_tuning=fine_tuning)  # other processes may have run it
        parameters = _parameters(detector)
        training, held_out = (source.stage_source(fine_tuning=fine_tuning) for source in sources)
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), explain_memory_error("a batch", advice, FitError):
            seed_everything(seed)
            with torch.no_grad():
                if isinstance(detector, EmbeddedDetector):
                    detector.learn_heads(training.loader(batch))
                detector.finish(held_out.loader(batch))
        scorer: Scorer | EmbeddedScorer
        if isinstance(detector, EmbeddedDetector) and isinstance(held_out, StoredEmbeddings):
            scorer = EmbeddedScorer(detector, device)
        else:
            scorer = Scorer(detector, device)
        return Fitted(
            normal_scores=score_held_out(scorer, held_out.loader(batch)),
            skipped=skipped,
            count=len(training),
            waited_s=loaders.training.waited_s + loaders.held_out.waited_s,
            training={"held_out": len(held_out), "parameters": parameters, **trained.rounded()._asdict()},
            is_finished=trained.stopped != "time",
        )
    finally:
        for source in sources:
            source.close()


def _parameters(detector: TrainedDetector) -> dict[str, int]:
    """Count the parameters that learn, and all of them."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in detector.parameters()]
    return {"learning": sum(count for count, learns in sizes if learns), "total": sum(count for count, _ in sizes)}


def _sources(
    detector: TrainedDetector, loaders: _Loaders, storage: Storage, config: TrainConfig, device: torch.device, run: Run
) -> Iterator[tuple[Source, list[Skipped]]]:
    """Yield the training samples, then the held-out ones, each with its unreadable files; embedded if needed."""
    if not isinstance(detector, EmbeddedDetector) or not isinstance(config, EmbeddedTrainConfig):
        yield from (gather(loader, storage) for loader in (loaders.training, loaders.held_out))
        return
    start = time.perf_counter()
    store = EmbeddingStore(config.embeddings_dir.expanduser(), int(config.embeddings_gb * 2**30))
    batch = max(1, config.batch_size // config.accumulate)
    detector.to(device).eval()
    embedding = EmbeddingPass(
        detector=detector,
        device=device,
        batch_size=batch,
        storage=storage,
        store=store if config.embeddings_gb else None,
    )
    advice = "raise --accumulate, or lower --batch-size or --size"
    with explain_memory_error(f"a batch of {batch} samples", advice, FitError):
        for loader, views in ((loaders.training, detector.views), (loaders.held_out, 0)):
            embedded, bad = embedding.embed(loader, views)
            if not detector.fine_tunes:
                yield embedded, bad
                continue
            pixels, unreadable = gather(loader, storage)
            yield EmbeddingsThenPixels(embedded, pixels), unreadable
    seconds = round(time.perf_counter() - start, 3)
    run.log("embedded", computed=embedding.computed, cached=embedding.cached, views=detector.views, seconds=seconds)


def _hold_out_count(total: int, config: TrainConfig, needed: int, noun: str) -> int:
    """Return how many samples to hold out; a resumed run keeps its number, for any rate."""
    if config.resume is not None:
        return int(checkpoint.load(config.resume).state["identity"]["hold_out_count"])
    return count_held_out(total, share=config.hold_out, needed=needed, noun=noun)


def _split_images(
    dataset: Dataset, spec: InputSpec, config: TrainConfig, seed: int, needed: int, progress: Progress | None
) -> _Loaders:
    if dataset.calibration:  # a validation set of the dataset's own
        training, held_out, count = list(dataset.train), list(dataset.calibration), len(dataset.calibration)
    else:
        count = _hold_out_count(len(dataset.train), config, needed, "images")
        training, held_out = split_images(dataset.train, count, seed=seed)
    if len(held_out) < needed and config.resume is None:
        raise CalibrationError(
            f"the requested rate needs {needed} held-out normal images, found {len(held_out)} of "
            f"{len(dataset.train)}: add normal images, or request a higher rate"
        )

    def loader(items: Sequence[Item], suffix: str) -> Loader:
        return load_items(items, spec, config, config, progress=progress, task=f"read {dataset.name}{suffix}")

    return _Loaders(training=loader(training, ""), held_out=loader(held_out, ", held out"), hold_out_count=count)


def _use_split(dataset: Dataset, training: Loader, held_out: Loader, needed: int, config: TrainConfig) -> _Loaders:
    """Use the dataset's own split; CalibrationError if too few samples are held out for the requested rate."""
    number = len(held_out)
    if needed > number and config.resume is None:
        noun = "clips" if held_out.spec.scores_whole_video else "frames"
        raise CalibrationError(
            f"the requested rate needs {needed} held-out normal {noun}, found {number}: give a larger last share of "
            f"--split ({format_split(config.split)}), more clips, or a rate of {1 / (number + 1):.2g} or more"
        )
    return _Loaders(training=training, held_out=held_out, hold_out_count=number)


def _split_videos(
    dataset: Dataset, spec: InputSpec, config: TrainConfig, seed: int, needed: int, progress: Progress | None
) -> _Loaders:
    videos = dataset.train
    if len(videos) > 1 and len({video.group or video.name for video in videos}) == 1:
        log.warning("all videos are in one group (%s): whole videos of it are held out", videos[0].group)
        videos = tuple(replace(video, group=None) for video in videos)

    def loader(suffix: str) -> Loader:
        items = dataset.calibration if dataset.calibration and suffix else videos
        return load_items(
            items, spec, config, config, progress=progress, task=f"read {dataset.name}{suffix}", every_s=config.every
        )

    whole = loader("")
    if dataset.calibration:
        return _use_split(dataset, whole, loader(", held out"), needed, config)
    groups = whole.groups()
    total = len(whole)
    count = _hold_out_count(total, config, needed, "frames")
    if len(videos) > 1:
        names = choose_held_out({group: len(whole.with_groups({group})) for group in groups}, count, seed=seed)
    else:
        names = choose_last_stretches(groups, total, count)
    training = whole.with_groups(set(groups) - names, skip_straddling=True)
    held_out = whole.with_groups(set(names), skip_straddling=True)
    training.progress, held_out.progress = loader("").progress, loader(", held out").progress
    return _Loaders(training=training, held_out=held_out, hold_out_count=count)
