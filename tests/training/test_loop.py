"""The loop against plain training written out, and what it does when something goes wrong."""

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
from offnormal.training.gather import Room, gather
from offnormal.training.history import read_history
from offnormal.training.loop import Job, seed_everything, train
from offnormal.training.samples import Order, to_unit
from offnormal.training.settings import Late, TrainSettings
from offnormal.types import InputSpec
from tests.training.tiny import Pair, Plain, TinyOptions

SPEC = InputSpec(size=(16, 16))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sources(pictures, tmp_path_factory):
    """22 pictures to learn from and 8 kept back."""
    samples = normal_items(pictures)
    room = Room(cache="ram", folder=tmp_path_factory.mktemp("cache"))
    return [gather(ImageLoader(part, SPEC, batch_size=8), room)[0] for part in (samples[:22], samples[22:])]


def made(kind=Plain, **options):
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
    learn, held = sources
    run.mkdir(exist_ok=True)
    return Job(
        detector=detector or made(),
        learn=learn,
        held=held,
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


def by_hand(sources, detector, settings, clip=None):
    """Plain training, step by step, without anything of the loop but the order of the batches."""
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
            for name, found in detector.training_step(to_unit(portion.pixels)):
                learning = [p for group in optimizers[name].param_groups for p in group["params"]]
                gradients = torch.autograd.grad(found["loss"], learning, retain_graph=True, allow_unused=True)
                for parameter, gradient in zip(learning, gradients, strict=True):
                    parameter.grad = gradient
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(learning, clip)
                optimizers[name].step()
                losses.append(float(found["loss"].detach()))
            step += 1
    return losses


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("kind", [Plain, Pair])
def test_it_is_plain_training(sources, tmp_path, kind, clip):
    detector, naive = made(kind), made(kind)
    before = state(detector)
    found = train(job(sources, tmp_path, detector, keep="last", clip_grad_norm=clip), CPU)
    expected = by_hand(sources, naive, settings(), clip)
    close(state(detector), state(naive), rtol=1e-5, atol=1e-6)
    assert torch.equal(detector.unused, before["unused"])
    logged = [losses["loss"] for line in events(tmp_path, "step") for losses in line["losses"].values()]
    np.testing.assert_allclose(logged, expected, rtol=1e-4)
    assert (found.steps, found.epochs, found.stopped) == (12, 3, "done")


@pytest.mark.parametrize("kind", [Plain, Pair])
def test_a_training_repeats_exactly(sources, tmp_path, kind):
    pair = [made(kind), made(kind)]
    for number, detector in enumerate(pair):
        torch.rand(number)  # what else the program draws changes nothing
        train(job(sources, tmp_path / str(number), detector), CPU)
    assert equal(*map(state, pair))


def test_random_numbers_of_the_user_go_on_as_if_nothing_had_been(sources, tmp_path):
    work = job(sources, tmp_path, made(Pair))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(work, CPU)
    assert torch.equal(torch.rand(3), expected)


class Simple(Plain):
    """Without anything that depends on how a batch is cut."""

    def training_step(self, x):
        yield "plain", {"loss": torch.nn.functional.mse_loss(self._restored(x), x)}


def test_what_a_fused_optimizer_changes_is_seen_to_have_changed(sources, tmp_path):
    """Networks in the form that scores fastest are made anew by that; fused steps alone do not tell."""
    seen = []

    class Watched(Plain):
        def optimizers(self):
            return {"one": torch.optim.Adam(self.parameters(), lr=1e-2, fused=True)}

        def training_step(self, x):
            seen.append((self.out.weight._version, float(self.out.weight.detach().sum())))
            for _, losses in super().training_step(x):
                yield "one", losses

    train(job(sources, tmp_path, detector=made(Watched)), CPU)
    versions, sums = zip(*seen, strict=True)
    assert len(set(versions)) == len(set(sums)) == len(seen) > 3


def test_a_batch_in_pieces_gives_the_same_gradient(sources, tmp_path):
    detectors = []
    for pieces in (1, 3):
        detectors.append(made(Simple))
        more = {"steps": 6, "batch_size": 7, "steps_per_epoch": 3, "accumulate": pieces, "keep": "last"}
        train(job(sources, tmp_path / str(pieces), detectors[-1], **more), CPU)
    close(*map(state, detectors), rtol=1e-4, atol=1e-6)
    losses = [[line["losses"]["plain"]["loss"] for line in events(tmp_path / n, "step")] for n in "13"]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_every_step_and_validation_is_logged(sources, tmp_path):
    train(job(sources, tmp_path, made(Pair), schedule="cosine"), CPU)
    steps = events(tmp_path, "step")
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["epoch"] for line in steps] == [1] * 4 + [2] * 4 + [3] * 4
    assert set(steps[0]["losses"]["maker"]) == {"loss", "content"}
    assert steps[0]["lr"] == {"maker": 0.01, "judge": 0.01}
    assert steps[6]["lr"]["maker"] == pytest.approx(0.01 * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2))
    assert steps[0]["gradient"]["judge"] > 0
    assert [line["step"] for line in events(tmp_path, "validation")] == [4, 8, 12]
    assert all(0 <= line["waiting_share"] <= 1 for line in events(tmp_path, "epoch"))


def test_validation_is_in_eval_mode_over_all_that_was_kept_back(sources, tmp_path):
    detector = made(Pair)
    train(job(sources, tmp_path, detector, keep="last"), CPU)
    (batch,) = sources[1].loader(100)
    detector.eval()
    with torch.no_grad():
        expected = float(detector.validation_step(torch.from_numpy(batch.pixels))["loss"])
    assert events(tmp_path, "validation")[-1]["losses"]["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_looks_at_no_more_than_it_may_evenly_spread(sources, tmp_path):
    detector = made(Pair)
    train(job(sources, tmp_path, detector, keep="last", validate_on=2), CPU)
    (batch,) = sources[1].loader(100)
    count = len(batch.pixels)
    assert count > 3
    detector.eval()
    with torch.no_grad():
        expected = float(detector.validation_step(torch.from_numpy(batch.pixels[[count // 4, 3 * count // 4]]))["loss"])
    assert events(tmp_path, "validation")[-1]["losses"]["loss"] == pytest.approx(expected, rel=1e-5)


class Counting(Plain):
    """Says after every epoch how many steps there were."""

    def end_epoch(self):
        return {"told": float(self.steps)}


def test_what_a_detector_says_of_each_epoch_is_logged(sources, tmp_path):
    train(job(sources, tmp_path, made(Counting)), CPU)
    assert [line["told"] for line in events(tmp_path, "epoch")] == [4, 8, 12]


class Worsening(Plain):
    """Is best after the second validation, whatever it learns."""

    def validation_step(self, x):
        return {"loss": torch.tensor(abs(float(self.steps) - 8) + 1), "other": x.mean()}


def test_the_best_weights_are_kept_unless_the_last_are_asked_for(sources, tmp_path):
    best, last = made(Worsening), made(Worsening)
    found = train(job(sources, tmp_path / "best", best, steps=20), CPU)
    train(job(sources, tmp_path / "last", last, steps=20, keep="last"), CPU)
    assert (found.best_step, found.best_epoch, found.best_loss) == (8, 2, 1.0)
    assert (int(best.steps), int(last.steps)) == (8, 20)


def test_it_stops_when_validation_no_longer_improves(sources, tmp_path):
    detector = made(Worsening)
    found = train(job(sources, tmp_path, detector, steps=40, patience=2), CPU)
    assert (found.steps, found.stopped, found.best_step) == (16, "early", 8)
    assert int(detector.steps) == 8


class InStages(Worsening):
    """Says when parts of it begin to learn."""

    def start_epoch(self, epoch, *, fine_tuning):
        return {"late": float(fine_tuning)}


def test_patience_waits_for_what_learns_late(sources, tmp_path):
    late = Late(step=28, validate_every=2)
    found = train(job(sources, tmp_path, made(InStages), steps=60, patience=3, late=late), CPU)
    assert (found.steps, found.stopped, found.best_step, found.early_loss) == (36, "early", 30, 1.0)
    assert [line["step"] for line in events(tmp_path, "validation")][-5:] == [28, 30, 32, 34, 36]
    assert [line["late"] for line in events(tmp_path, "epoch")] == [0.0] * 7 + [1.0] * 2


@pytest.mark.parametrize(("keep", "at_first", "moments"), [("best", 8, 0), ("last", 12, 4)])
def test_what_learns_late_begins_where_the_rest_was_best(sources, tmp_path, keep, at_first, moments):
    begun = []

    class Begun(InStages):
        def optimizers(self):
            self.made = super().optimizers()
            return self.made

        def training_step(self, x):
            begun.append((int(self.steps), len(self.made["plain"].state)))
            yield from super().training_step(x)

    late = Late(step=12, validate_every=4)
    train(job(sources, tmp_path, made(Begun), steps=16, late=late, keep=keep), CPU)
    assert begun[0] == (0, 0) and begun[12] == (at_first, moments)
    assert [steps for steps, _ in begun] == [*range(12), *range(at_first, at_first + 4)]


def test_plateaus_are_counted_anew_where_a_part_begins_to_learn(sources, tmp_path):
    late = Late(step=24, validate_every=2)  # by then four validations were no better than that after step 8, and the
    # first one since is better than those after it
    train(job(sources, tmp_path, made(InStages), steps=40, late=late, schedule="plateau"), CPU)
    rates = [line["lr"]["plain"] for line in events(tmp_path, "step")]
    assert rates == [0.01] * 36 + [0.005] * 4


class Unfrozen(Worsening):
    """Worse and worse until a part of it learns late, and then better and better; tells of the steps of an epoch."""

    def __init__(self, options, spec):
        super().__init__(options, spec)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("late", torch.zeros((), dtype=torch.int64))
        self.is_late = False

    def optimizers(self):
        groups = [{"params": [*self.hidden.parameters()]}, {"params": [*self.out.parameters()], "late": "out"}]
        return {"plain": torch.optim.Adam(groups, lr=0.01)}

    def start_epoch(self, epoch, *, fine_tuning):
        self.is_late = fine_tuning
        self.out.requires_grad_(fine_tuning)
        return {}

    def training_step(self, x):
        self.seen += 1
        self.late += self.is_late
        yield from super().training_step(x)

    def validation_step(self, x):
        return {"loss": 1 / (1 + self.late)} if self.late else super().validation_step(x)

    def end_epoch(self):
        told = {"seen": float(self.seen)}
        self.seen.zero_()
        return told


@pytest.mark.parametrize("schedule", ["step", "plateau"])
def test_killed_after_any_write_it_goes_on_as_if_nothing_had_been(sources, tmp_path, monkeypatch, schedule):
    late = Late(step=12, validate_every=2)
    more = {"steps": 22, "late": late, "validate_every": 4, "schedule": schedule}
    shots = []
    keep = checkpoint.save

    def save(run, which, *given, **named):
        keep(run, which, *given, **named)
        shots.append(shutil.copytree(run, tmp_path / f"shot-{len(shots)}-{which}"))

    monkeypatch.setattr(loop, "_SAVE_SHARE", 1e9)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save)
        whole = made(Unfrozen)
        found = train(job(sources, tmp_path / "whole", whole, **more), CPU)
    assert (found.best_step, [shot.name.split("-")[-1] for shot in shots].count("best")) == (22, 7)
    history = read_history(tmp_path / "whole" / "log.jsonl")
    steps = [line["step"] for line in events(tmp_path / "whole", "step") if "out" in line["lr"]]
    assert steps == list(range(13, 23)) and [told["seen"] for told in history.epochs.values()] == [4, 4, 4, 4, 4, 2]
    for shot in shots[1:]:  # the first one lies beside no `last` yet
        again = made(Unfrozen)
        assert train(job(sources, shot, again, resume=True, **more), CPU) == found._replace(waiting_share=ANY), shot
        assert equal(state(whole), state(again)), shot
        known = read_history(shot / "log.jsonl")
        assert (known.steps, known.rates, known.validations) == (history.steps, history.rates, history.validations)
        assert known.epochs == history.epochs, shot


def test_it_stops_at_the_limit_of_time_and_can_be_gone_on_with(sources, tmp_path):
    whole, part = made(Pair), made(Pair)
    train(job(sources, tmp_path / "whole", whole), CPU)
    found = train(job(sources, tmp_path / "part", part, max_time_s=1e-6), CPU)
    assert (found.steps, found.stopped, found.best_step) == (1, "time", None)
    found = train(job(sources, tmp_path / "part", made(Pair), resume=True, max_time_s=None), CPU)
    again = made(Pair)
    found = train(job(sources, tmp_path / "part", again, resume=True), CPU)  # of what has ended nothing is done again
    assert (found.steps, found.stopped) == (12, "done")
    assert equal(state(whole), state(again))


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_files(sources, tmp_path):
    with pytest.raises(FitError) as error:
        train(job(sources, tmp_path, made(nan_at=7)), CPU)
    message = str(error.value)
    assert "step 7 (epoch 2): the loss of plain is nan" in message
    assert "checkpoint is that of step 4" in message
    assert checkpoint.load(tmp_path).state["step"] == 4
    portions = list(sources[0].epoch(Order(seed=3, epoch=1, batch_size=5)))
    assert all(str(sample.item.path) in message for sample in portions[2].samples)
    assert [line["step"] for line in events(tmp_path, "step")] == list(range(1, 7))


class Steep(Plain):
    def training_step(self, x):
        for name, losses in super().training_step(x):
            yield name, {"loss": losses["loss"] + (self.hidden.bias * 0).sqrt().sum()}  # 0, with a gradient of nan


def test_a_gradient_that_is_no_number_stops_too(sources, tmp_path):
    with pytest.raises(FitError, match=r"step 1 \(epoch 1\): the gradient of plain is nan.*[Nn]o checkpoint"):
        train(job(sources, tmp_path, made(Steep)), CPU)


class Hungry(Plain):
    def training_step(self, x):
        yield "plain", {"loss": torch.empty(1 << 46).sum()}


def test_a_batch_that_does_not_fit_into_memory_says_what_to_lower(sources, tmp_path):
    with pytest.raises(FitError, match=r"a batch of 5 samples does not fit.*--accumulate.*--batch-size"):
        train(job(sources, tmp_path, made(Hungry)), CPU)


class Narrow(Plain):
    def training_step(self, x):
        pooled = self.hidden(x).mean((2, 3))
        yield "plain", {"loss": torch.nn.functional.batch_norm(pooled, None, None, training=True).square().sum()}


def test_a_single_sample_trains_and_single_samples_a_batch_are_explained(pictures, sources, tmp_path):
    one, _ = gather(
        ImageLoader(normal_items(pictures)[:1], SPEC, batch_size=8), Room(cache="ram", folder=tmp_path / "cache")
    )
    alone = {"steps": 2, "steps_per_epoch": 1, "validate_every": 1}
    train(job((one, sources[1]), tmp_path / "one", made(Narrow), **alone), CPU)
    with pytest.raises(FitError, match="raise --batch-size"):
        train(job(sources, tmp_path / "many", made(Narrow), batch_size=1, steps_per_epoch=22), CPU)


def test_mixed_precision_comes_near(sources, tmp_path):
    precise, mixed = made(), made()
    train(job(sources, tmp_path / "a", precise, keep="last"), CPU)
    train(job(sources, tmp_path / "b", mixed, keep="last", precision="bf16"), CPU)
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert not torch.equal(precise.hidden.weight, mixed.hidden.weight)
    torch.testing.assert_close(precise.hidden.weight, mixed.hidden.weight, rtol=0.05, atol=0.02)


def test_what_has_changed_since_the_checkpoint_is_named(sources, tmp_path):
    train(job(sources, tmp_path, identity={"a": {"b": 1}}), CPU)
    with pytest.raises(ConfigError, match=r"a.b: 1 then, 2 now.*without --resume"):
        train(job(sources, tmp_path, resume=True, identity={"a": {"b": 2}}), CPU)


def test_progress_is_told_with_the_losses(sources, tmp_path):
    told = []
    train(job(sources, tmp_path, made(Pair)), CPU, lambda *what: told.append(what))
    assert [(done, of) for done, of, _ in told] == [(step, 12) for step in range(1, 13)]
    assert "maker" in told[0][2]
    assert "judge" in told[0][2]
    assert "validation" in told[-1][2]


def test_the_history_is_read_from_the_log(sources, tmp_path):
    train(job(sources, tmp_path, made(Pair)), CPU)
    history = read_history(tmp_path / "log.jsonl")
    assert list(history.steps) == list(range(1, 13))
    assert set(history.validations) == {4, 8, 12}
    assert history.best in history.validations


def test_checkpoints_at_validations_cost_little_of_the_time(sources, tmp_path, monkeypatch):
    saved = []
    now = iter(np.arange(0, 1e6, 1.0))  # every look at the clock is a second later
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(loop, "_SAVE_SHARE", 1 / 30)
    keep = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda run, which, *a, **k: (saved.append(which), keep(run, which, *a, **k))
    )
    train(job(sources, tmp_path, made(), steps=40), CPU)
    assert 2 <= saved.count("last") < 10
    assert saved[-1] == "last"
