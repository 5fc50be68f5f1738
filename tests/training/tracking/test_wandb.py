"""A W&B run that is written offline and read back from its file."""

from __future__ import annotations

import json

import pytest

from offnormal.errors import ConfigError
from offnormal.training.tracking.tracker import Point, RunInfo
from tests.training.tracking.test_tensorboard import png

wandb = pytest.importorskip("wandb")


@pytest.fixture
def info(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()
    yield RunInfo(folder=tmp_path / "run", project="mine", name="called")
    wandb.teardown()


def open_tracker(info, ident=None):
    from offnormal.training.tracking.wandb import WandB

    info.folder.mkdir(exist_ok=True)
    WandB.check()
    return WandB(info, ident)


def records(info):
    """Yield the records of the offline files, which consist of LevelDB blocks of 32 KiB, as protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    for file in sorted((info.folder / "wandb").glob("offline-run-*/*.wandb")):
        data, offset, chunk = file.read_bytes(), 7, b""
        while offset + 7 <= len(data):
            if 32768 - offset % 32768 < 7:
                offset += 32768 - offset % 32768
                continue
            length, kind = int.from_bytes(data[offset + 4 : offset + 6], "little"), data[offset + 6]
            chunk += data[offset + 7 : offset + 7 + length]
            offset += 7 + length
            if kind in (1, 4):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(chunk)
                chunk = b""
                yield record


def history(info):
    rows = []
    for record in records(info):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append(items)
    return rows


def test_all_values_are_stored_and_a_later_process_continues_the_same_run(info):
    first = open_tracker(info)
    first.configure({"size": "16", "detector": {"name": "plain"}})
    first.log_points([Point(step, 1000.0 + step, {"train/g/loss": 1 / step}) for step in (1, 2)])
    first.log_points([Point(2, 1002.0, {"validation/loss": 5.0})])
    first.log_summary({"evaluation/image_AUROC": 0.75}, 2)
    first.log_image("curves/g", png(), 2)
    first.close(failed=True)
    again = open_tracker(info, first.ident)
    again.log_points([Point(3, 2000.0, {"train/g/loss": 7.0}), Point(2, 2001.0, {"train/g/loss": 8.0})])
    again.close(failed=False)

    runs = [record.run for record in records(info) if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {(first.ident, "mine", "called")}
    lines = [{name: line.get(name) for name in ("_step", "train/g/loss", "validation/loss")} for line in history(info)]
    assert lines == [
        {"_step": 1, "train/g/loss": 1.0, "validation/loss": None},
        {"_step": 2, "train/g/loss": 0.5, "validation/loss": 5.0},
        {"_step": 3, "train/g/loss": 7.0, "validation/loss": None},
    ]
    assert len(list(info.folder.glob("wandb/*/files/media/images/curves/*.png"))) == 1
    text = b"".join(path.read_bytes() for path in info.folder.rglob("*.wandb"))
    assert b"image_AUROC" in text
    assert b"detector" in text
    assert "wandb sync" in first.location


def test_arguments_and_sources_are_not_sent(info, monkeypatch):
    monkeypatch.setattr("sys.argv", ["offnormal", "fit", "--upload", "sftp://me:secret-word@host/x"])
    open_tracker(info).close(failed=False)
    for path in info.folder.rglob("*"):
        assert not path.is_file() or b"secret-word" not in path.read_bytes()


def test_a_missing_login_is_refused_before_training(info, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123
    wandb.teardown()
    with pytest.raises(ConfigError, match=r"--track wandb: .*WANDB_API_KEY"):
        open_tracker(info)


def test_a_run_that_the_caller_has_open_is_independent(info, tmp_path):
    callers_run = wandb.init(project="theirs", dir=str(tmp_path))
    tracker = open_tracker(info)
    assert tracker.ident != callers_run.id
    tracker.log_points([Point(0, 1000.0, {"loss": 1.0})])
    tracker.close(failed=False)
    callers_run.log({"theirs": 3})  # still open
    assert wandb.run is callers_run
    callers_run.finish()
    assert all("theirs" not in row for row in history(info))
