"""A run of Weights & Biases that is written offline and read back from its file."""

from __future__ import annotations

import json

import pytest

from offnormal.errors import ConfigError
from offnormal.training.tracking.tracker import About, Point
from tests.training.tracking.test_tensorboard import png

wandb = pytest.importorskip("wandb")


@pytest.fixture
def about(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()
    yield About(folder=tmp_path / "run", project="mine", name="called")
    wandb.teardown()


def opened(about, ident=None):
    from offnormal.training.tracking.wandb import WandB

    about.folder.mkdir(exist_ok=True)
    WandB.check()
    return WandB(about, ident)


def records(about):
    """The blocks of 32 KiB in LevelDB's form that the offline files consist of, as protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    for file in sorted((about.folder / "wandb").glob("offline-run-*/*.wandb")):
        data, at, held = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            held += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(held)
                held = b""
                yield record


def history(about):
    found = []
    for record in records(about):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.append(items)
    return found


def test_everything_is_read_back_and_a_later_process_goes_on_with_the_same_run(about):
    first = opened(about)
    first.configure({"size": "16", "detector": {"name": "plain"}})
    first.points([Point(step, 1000.0 + step, {"train/g/loss": 1 / step}) for step in (1, 2)])
    first.points([Point(2, 1002.0, {"validation/loss": 5.0})])
    first.summary({"evaluation/image_AUROC": 0.75}, 2)
    first.picture("curves/g", png(), 2)
    first.close(failed=True)
    again = opened(about, first.ident)
    again.points([Point(3, 2000.0, {"train/g/loss": 7.0}), Point(2, 2001.0, {"train/g/loss": 8.0})])
    again.close(failed=False)

    runs = [record.run for record in records(about) if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {(first.ident, "mine", "called")}
    lines = [{name: line.get(name) for name in ("_step", "train/g/loss", "validation/loss")} for line in history(about)]
    assert lines == [
        {"_step": 1, "train/g/loss": 1.0, "validation/loss": None},
        {"_step": 2, "train/g/loss": 0.5, "validation/loss": 5.0},
        {"_step": 3, "train/g/loss": 7.0, "validation/loss": None},
    ]
    assert len(list(about.folder.glob("wandb/*/files/media/images/curves/*.png"))) == 1
    text = b"".join(path.read_bytes() for path in about.folder.rglob("*.wandb"))
    assert b"image_AUROC" in text
    assert b"detector" in text
    assert "wandb sync" in first.place


def test_arguments_and_sources_stay_here(about, monkeypatch):
    monkeypatch.setattr("sys.argv", ["offnormal", "fit", "--upload", "sftp://me:secret-word@host/x"])
    opened(about).close(failed=False)
    for path in about.folder.rglob("*"):
        assert not path.is_file() or b"secret-word" not in path.read_bytes()


def test_who_is_not_logged_in_hears_it_before_anything_is_learned(about, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123
    wandb.teardown()
    with pytest.raises(ConfigError, match=r"--track wandb: .*WANDB_API_KEY"):
        opened(about)


def test_a_run_that_the_caller_has_open_stays_another(about, tmp_path):
    own = wandb.init(project="theirs", dir=str(tmp_path))
    tracker = opened(about)
    assert tracker.ident != own.id
    tracker.points([Point(0, 1000.0, {"loss": 1.0})])
    tracker.close(failed=False)
    own.log({"theirs": 3})  # it goes on
    assert wandb.run is own
    own.finish()
    assert all("theirs" not in row for row in history(about))
