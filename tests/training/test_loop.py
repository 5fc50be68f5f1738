"""The loop against plain training written out, and its behavior when something goes wrong."""

from __future__ import annotations

import json
import math
import shutil
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.errors import ConfigError, FitError
from offnormal.training import checkpoint, loop
from offnormal.training.gather import Storage, gather
from offnormal.training.history import read_history
from offnormal.training.loop import Job, seed_everything, train
from offnormal.training.samples import Order, to_unit
from offnormal.training.settings import FineTuning, TrainSettings
from offnormal.types import InputSpec
from tests.training.tiny import Pair, Plain, TinyOptions

SPEC = InputSpec(size=(16, 16))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sources(pictures, tmp_path_factory):
    """22 training images and 8 held-out ones."""
    samples = normal_items(pictures)
    room = Storage(cache="ram", folder=tmp_path_factory.mktemp("cache"))
    return [gather(ImageLoader(part, SPEC, batch_size=8), room)[0] for part in (samples[:22], samples[22:])]


def make_detector(kind=Plain, **options):
    torch.manual_seed(0)
    return kind(TinyOptions(**options), SPEC)


def settings(**more):
    chosen = {
        "seed": 3,
        "batch_size": 5,
        "steps": 12,
        "steps_per_epoch": 4,
        "validate_every": 4,
        "validate_on": 99,
        **more,
    }
    return TrainSettings(**chosen)


def job(sources, run, detector=None, resume=False, identity=None, **more):
    training, held_out = sources
    run.mkdir(exist_ok=True)
    return Job(
        detector=detector or make_detector(),
        training=training,
        held_out=held_out,
        settings=settings(**more),
        run=run,
        identity=identity or {},
        resume=resume,
    )


def state(detector):
    return {key: value.clone() for key, value in detector.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def close(a, b, **more):
    for key in a:
        torch.testing.assert_close(a[key], b[key], **more)


def events(run, name):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def train_plainly(sources, detector, settings, clip=None):
    """Plain training, step by step; only the order of the batches is the loop's."""
    optimizers = detector.optimizers()
    losses = []
    step = 0
    while step < settings.steps:
        epoch = step // settings.steps_per_epoch
        for portion in sources[0].epoch(Order(seed=settings.seed, epoch=epoch, batch_size=settings.batch_size)):
            if step == settings.steps:
                break
            detector.train()
            seed_everything(settings.seed, step, 0)
            for name, step_losses in detector.training_step(to_unit(portion.pixels)):
                learning = [p for group in optimizers[name].param_groups for p in group["params"]]
                gradients = torch.autograd.grad(step_losses["loss"], learning, retain_graph=True, allow_unused=True)
                for parameter, gradient in zip(learning, gradients, strict=True):
                    parameter.grad = gradient
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(learning, clip)
                optimizers[name].step()
                losses.append(float(step_losses["loss"].detach()))
            step += 1
    return losses


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("kind", [Plain, Pair])
def test_the_loop_is_plain_training(sources, tmp_path, kind, clip):
    detector, naive = make_detector(kind), make_detector(kind)
    before = state(detector)
    trained = train(job(sources, tmp_path, detector, keep="last", clip_grad_norm=clip), CPU)
    expected = train_plainly(sources, naive, settings(), clip)
    close(state(detector), state(naive), rtol=1e-5, atol=1e-6)
    assert torch.equal(detector.unused, before["unused"])
    logged = [losses["loss"] for line in events(tmp_path, "step") for losses in line["losses"].values()]
    np.testing.assert_allclose(logged, expected, rtol=1e-4)
    assert (trained.steps, trained.epochs, trained.stopped) == (12, 3, "done")


@pytest.mark.parametrize("kind", [Plain, Pair])
def test_a_training_repeats_exactly(sources, tmp_path, kind):
    pair = [make_detector(kind), make_detector(kind)]
    for number, detector in enumerate(pair):
        torch.rand(number)  # other random draws of the program change nothing
        train(job(sources, tmp_path / str(number), detector), CPU)
    assert equal(*map(state, pair))


def test_random_numbers_of_the_user_are_unaffected(sources, tmp_path):
    work = job(sources, tmp_path, make_detector(Pair))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(work, CPU)
    assert torch.equal(torch.rand(3), expected)


class Simple(Plain):
    """Its loss does not depend on how a batch is split."""

    def training_step(self, x):
        yield "plain", {"loss": torch.nn.functional.mse_loss(self._restored(x), x)}


def test_fused_optimizers_increment_the_version_of_parameters(sources, tmp_path):
    """Folded networks are rebuilt when versions change; fused steps do not change them."""
    versions_and_sums = []

    class Watched(Plain):
        def optimizers(self):
            return {"adam": torch.optim.Adam(self.parameters(), lr=1e-2, fused=True)}

        def training_step(self, x):
            versions_and_sums.append((self.out.weight._version, float(self.out.weight.detach().sum())))
            for _, losses in super().training_step(x):
                yield "adam", losses

    train(job(sources, tmp_path, detector=make_detector(Watched)), CPU)
    versions, sums = zip(*versions_and_sums, strict=True)
    assert len(set(versions)) == len(set(sums)) == len(versions_and_sums) > 3


def test_micro_batches_give_the_same_gradient(sources, tmp_path):
    detectors = []
    for count in (1, 3):
        detectors.append(make_detector(Simple))
        more = {"steps": 6, "batch_size": 7, "steps_per_epoch": 3, "accumulate": count, "keep": "last"}
        train(job(sources, tmp_path / str(count), detectors[-1], **more), CPU)
    close(*map(state, detectors), rtol=1e-4, atol=1e-6)
    losses = [[line["losses"]["plain"]["loss"] for line in events(tmp_path / n, "step")] for n in "13"]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_every_step_and_validation_is_logged(sources, tmp_path):
    train(job(sources, tmp_path, make_detector(Pair), schedule="cosine"), CPU)
    steps = events(tmp_path, "step")
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["epoch"] for line in steps] == [1] * 4 + [2] * 4 + [3] * 4
    assert set(steps[0]["losses"]["maker"]) == {"loss", "content"}
    assert steps[0]["lr"] == {"maker": 0.01, "judge": 0.01}
    assert steps[6]["lr"]["maker"] == pytest.approx(0.01 * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2))
    assert steps[0]["gradient"]["judge"] > 0
    assert [line["step"] for line in events(tmp_path, "validation")] == [4, 8, 12]
    assert all(0 <= line["waiting_share"] <= 1 for line in events(tmp_path, "epoch"))


def test_validation_is_in_eval_mode_over_all_held_out_samples(sources, tmp_path):
    detector = make_detector(Pair)
    train(job(sources, tmp_path, detector, keep="last"), CPU)
    (batch,) = sources[1].loader(100)
    detector.eval()
    with torch.no_grad():
        expected = float(detector.validation_step(torch.from_numpy(batch.pixels))["loss"])
    assert events(tmp_path, "validation")[-1]["losses"]["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_uses_a_limited_number_of_evenly_spaced_samples(sources, tmp_path):
    detector = make_detector(Pair)
    train(job(sources, tmp_path, detector, keep="last", validate_on=2), CPU)
    (batch,) = sources[1].loader(100)
    count = len(batch.pixels)
    assert count > 3
    detector.eval()
    with torch.no_grad():
        expected = float(detector.validation_step(torch.from_numpy(batch.pixels[[count // 4, 3 * count // 4]]))["loss"])
    assert events(tmp_path, "validation")[-1]["losses"]["loss"] == pytest.approx(expected, rel=1e-5)


class Counting(Plain):
    """Reports the number of steps after every epoch."""

    def end_epoch(self):
        return {"total_steps": float(self.steps)}


def test_values_of_the_detector_are_logged_for_each_epoch(sources, tmp_path):
    train(job(sources, tmp_path, make_detector(Counting)), CPU)
    assert [line["total_steps"] for line in events(tmp_path, "epoch")] == [4, 8, 12]


class Worsening(Plain):
    """Has its lowest loss after the second validation, whatever it learns."""

    def validation_step(self, x):
        return {"loss": torch.tensor(abs(float(self.steps) - 8) + 1), "other": x.mean()}


def test_the_best_weights_are_kept_unless_the_last_are_requested(sources, tmp_path):
    best, last = make_detector(Worsening), make_detector(Worsening)
    trained = train(job(sources, tmp_path / "best", best, steps=20), CPU)
    train(job(sources, tmp_path / "last", last, steps=20, keep="last"), CPU)
    assert (trained.best_step, trained.best_epoch, trained.best_loss) == (8, 2, 1.0)
    assert (int(best.steps), int(last.steps)) == (8, 20)


def test_training_stops_when_validation_no_longer_improves(sources, tmp_path):
    detector = make_detector(Worsening)
    trained = train(job(sources, tmp_path, detector, steps=40, patience=2), CPU)
    assert (trained.steps, trained.stopped, trained.best_step) == (16, "early", 8)
    assert int(detector.steps) == 8


class InStages(Worsening):
    """Reports whether it is in the fine-tuning stage."""

    def start_epoch(self, epoch, *, fine_tuning):
        return {"late": float(fine_tuning)}


def test_patience_waits_for_the_fine_tuning_stage(sources, tmp_path):
    fine_tuning = FineTuning(start=28, validate_every=2)
    trained = train(job(sources, tmp_path, make_detector(InStages), steps=60, patience=3, fine_tuning=fine_tuning), CPU)
    assert (trained.steps, trained.stopped, trained.best_step, trained.frozen_loss) == (36, "early", 30, 1.0)
    assert [line["step"] for line in events(tmp_path, "validation")][-5:] == [28, 30, 32, 34, 36]
    assert [line["late"] for line in events(tmp_path, "epoch")] == [0.0] * 7 + [1.0] * 2


@pytest.mark.parametrize(("keep", "start", "moments"), [("best", 8, 0), ("last", 12, 4)])
def test_fine_tuning_starts_from_the_kept_weights(sources, tmp_path, keep, start, moments):
    steps_and_moments = []

    class Recording(InStages):
        def optimizers(self):
            self.created = super().optimizers()
            return self.created

        def training_step(self, x):
            steps_and_moments.append((int(self.steps), len(self.created["plain"].state)))
            yield from super().training_step(x)

    fine_tuning = FineTuning(start=12, validate_every=4)
    train(job(sources, tmp_path, make_detector(Recording), steps=16, fine_tuning=fine_tuning, keep=keep), CPU)
    assert steps_and_moments[0] == (0, 0) and steps_and_moments[12] == (start, moments)
    assert [steps for steps, _ in steps_and_moments] == [*range(12), *range(start, start + 4)]


def test_plateaus_are_counted_per_stage(sources, tmp_path):
    # by step 24 four validations were no better than that after step 8; the first one in the stage is its best
    fine_tuning = FineTuning(start=24, validate_every=2)
    train(job(sources, tmp_path, make_detector(InStages), steps=40, fine_tuning=fine_tuning, schedule="plateau"), CPU)
    rates = [line["lr"]["plain"] for line in events(tmp_path, "step")]
    assert rates == [0.01] * 36 + [0.005] * 4


class Unfreezing(Worsening):
    """Gets worse until the fine-tuning stage, and better from then on; reports the steps of each epoch."""

    def __init__(self, options, spec):
        super().__init__(options, spec)
        self.register_buffer("epoch_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("late", torch.zeros((), dtype=torch.int64))
        self.is_fine_tuning = False

    def optimizers(self):
        groups = [{"params": [*self.hidden.parameters()]}, {"params": [*self.out.parameters()], "late": "out"}]
        return {"plain": torch.optim.Adam(groups, lr=0.01)}

    def start_epoch(self, epoch, *, fine_tuning):
        self.is_fine_tuning = fine_tuning
        self.out.requires_grad_(fine_tuning)
        return {}

    def training_step(self, x):
        self.epoch_steps += 1
        self.late += self.is_fine_tuning
        yield from super().training_step(x)

    def validation_step(self, x):
        return {"loss": 1 / (1 + self.late)} if self.late else super().validation_step(x)

    def end_epoch(self):
        values = {"epoch_steps": float(self.epoch_steps)}
        self.epoch_steps.zero_()
        return values


@pytest.mark.parametrize("schedule", ["step", "plateau"])
def test_a_run_killed_after_any_write_resumes_to_the_same_result(sources, tmp_path, monkeypatch, schedule):
    fine_tuning = FineTuning(start=12, validate_every=2)
    more = {"steps": 22, "fine_tuning": fine_tuning, "validate_every": 4, "schedule": schedule}
    shots = []
    original_save = checkpoint.save

    def save(run, which, *arguments, **optimizers):
        original_save(run, which, *arguments, **optimizers)
        shots.append(shutil.copytree(run, tmp_path / f"shot-{len(shots)}-{which}"))

    monkeypatch.setattr(loop, "_SAVE_SHARE", 1e9)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save)
        whole = make_detector(Unfreezing)
        trained = train(job(sources, tmp_path / "whole", whole, **more), CPU)
    assert (trained.best_step, [shot.name.split("-")[-1] for shot in shots].count("best")) == (22, 7)
    history = read_history(tmp_path / "whole" / "log.jsonl")
    steps = [line["step"] for line in events(tmp_path / "whole", "step") if "out" in line["lr"]]
    assert steps == list(range(13, 23))
    assert [values["epoch_steps"] for values in history.epochs.values()] == [4, 4, 4, 4, 4, 2]
    for shot in shots[1:]:  # at the first one, there is no `last` yet
        resumed = make_detector(Unfreezing)
        result = train(job(sources, shot, resumed, resume=True, **more), CPU)
        assert result == trained._replace(waiting_share=ANY), shot
        assert equal(state(whole), state(resumed)), shot
        after = read_history(shot / "log.jsonl")
        assert (after.steps, after.rates, after.validations) == (history.steps, history.rates, history.validations)
        assert after.epochs == history.epochs, shot


def test_training_stops_at_the_time_limit_and_can_be_resumed(sources, tmp_path):
    whole, interrupted = make_detector(Pair), make_detector(Pair)
    train(job(sources, tmp_path / "whole", whole), CPU)
    trained = train(job(sources, tmp_path / "part", interrupted, max_time_s=1e-6), CPU)
    assert (trained.steps, trained.stopped, trained.best_step) == (1, "time", None)
    trained = train(job(sources, tmp_path / "part", make_detector(Pair), resume=True, max_time_s=None), CPU)
    resumed = make_detector(Pair)
    trained = train(job(sources, tmp_path / "part", resumed, resume=True), CPU)  # a finished training does nothing
    assert (trained.steps, trained.stopped) == (12, "done")
    assert equal(state(whole), state(resumed))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_files(sources, tmp_path):
    with pytest.raises(FitError) as error:
        train(job(sources, tmp_path, make_detector(nan_at=7)), CPU)
    message = str(error.value)
    assert "step 7 (epoch 2): the loss of plain is nan" in message
    assert "checkpoint is from step 4" in message
    assert checkpoint.load(tmp_path).state["step"] == 4
    portions = list(sources[0].epoch(Order(seed=3, epoch=1, batch_size=5)))
    assert all(str(sample.item.path) in message for sample in portions[2].samples)
    assert [line["step"] for line in events(tmp_path, "step")] == list(range(1, 7))


class Steep(Plain):
    def training_step(self, x):
        for name, losses in super().training_step(x):
            yield name, {"loss": losses["loss"] + (self.hidden.bias * 0).sqrt().sum()}  # 0, with a gradient of nan


def test_a_gradient_that_is_not_finite_stops_too(sources, tmp_path):
    with pytest.raises(FitError, match=r"step 1 \(epoch 1\): the gradient of plain is nan.*no earlier checkpoint"):
        train(job(sources, tmp_path, make_detector(Steep)), CPU)


class Hungry(Plain):
    def training_step(self, x):
        yield "plain", {"loss": torch.empty(1 << 46).sum()}


def test_a_batch_that_does_not_fit_into_memory_says_what_to_lower(sources, tmp_path):
    with pytest.raises(FitError, match=r"a batch of 5 samples does not fit.*--accumulate.*--batch-size"):
        train(job(sources, tmp_path, make_detector(Hungry)), CPU)


class Narrow(Plain):
    def training_step(self, x):
        pooled = self.hidden(x).mean((2, 3))
        yield "plain", {"loss": torch.nn.functional.batch_norm(pooled, None, None, training=True).square().sum()}


def test_a_single_sample_trains_but_batches_of_one_are_explained(pictures, sources, tmp_path):
    single, _ = gather(
        ImageLoader(normal_items(pictures)[:1], SPEC, batch_size=8), Storage(cache="ram", folder=tmp_path / "cache")
    )
    lengths = {"steps": 2, "steps_per_epoch": 1, "validate_every": 1}
    train(job((single, sources[1]), tmp_path / "one", make_detector(Narrow), **lengths), CPU)
    with pytest.raises(FitError, match="raise --batch-size"):
        train(job(sources, tmp_path / "many", make_detector(Narrow), batch_size=1, steps_per_epoch=22), CPU)


def test_mixed_precision_is_close(sources, tmp_path):
    precise, mixed = make_detector(), make_detector()
    train(job(sources, tmp_path / "a", precise, keep="last"), CPU)
    train(job(sources, tmp_path / "b", mixed, keep="last", precision="bf16"), CPU)
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert not torch.equal(precise.hidden.weight, mixed.hidden.weight)
    torch.testing.assert_close(precise.hidden.weight, mixed.hidden.weight, rtol=0.05, atol=0.02)


def test_changes_since_the_checkpoint_are_listed(sources, tmp_path):
    train(job(sources, tmp_path, identity={"a": {"b": 1}}), CPU)
    with pytest.raises(ConfigError, match=r"a.b: 1 -> 2.*without --resume"):
        train(job(sources, tmp_path, resume=True, identity={"a": {"b": 2}}), CPU)


def test_progress_is_reported_with_the_losses(sources, tmp_path):
    reports = []
    train(job(sources, tmp_path, make_detector(Pair)), CPU, lambda *report: reports.append(report))
    assert [(done, total) for done, total, _ in reports] == [(step, 12) for step in range(1, 13)]
    assert "maker" in reports[0][2]
    assert "judge" in reports[0][2]
    assert "validation" in reports[-1][2]


def test_the_history_is_read_from_the_log(sources, tmp_path):
    train(job(sources, tmp_path, make_detector(Pair)), CPU)
    history = read_history(tmp_path / "log.jsonl")
    assert list(history.steps) == list(range(1, 13))
    assert set(history.validations) == {4, 8, 12}
    assert history.best in history.validations


def test_checkpoints_at_validations_cost_little_of_the_time(sources, tmp_path, monkeypatch):
    saved = []
    now = iter(np.arange(0, 1e6, 1.0))  # every look at the clock is a second later
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(loop, "_SAVE_SHARE", 1 / 30)
    original_save = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda run, which, *a, **k: (saved.append(which), original_save(run, which, *a, **k))
    )
    train(job(sources, tmp_path, make_detector(), steps=40), CPU)
    assert 2 <= saved.count("last") < 10
    assert saved[-1] == "last"
