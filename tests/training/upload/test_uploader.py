"""The copy of a run in a store, after every kind of failure."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest
import torch

from offnormal.errors import ConfigError, OffnormalError
from offnormal.run import Run
from offnormal.training import checkpoint, worker
from offnormal.training.upload import uploader
from offnormal.training.upload.store import Store
from offnormal.training.upload.uploader import Mirror, Uploader, previous_address, upload_run

NAME = "20261121-105426-plain-parts"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_FIRST_S", 0.01)
    monkeypatch.setattr(worker, "_LONGEST_S", 0.05)
    monkeypatch.setattr(uploader, "_EVERY_S", 0.005)
    created = Run(tmp_path / "runs" / NAME)
    created.path.mkdir(parents=True)
    created.write_config({"size": "16"})
    created.log("start")
    return created


def save(run, step):
    run.log("step", step=step)
    checkpoint.save(run.path, "best", {"w": torch.full((3,), float(step))}, {"step": step})
    checkpoint.save(run.path, "last", {"w": torch.full((3,), float(step))}, {"step": step})


def copy_back(bucket, to):
    """Copy everything in the store, as any program would."""
    for name in bucket.names():
        path = to / name.removeprefix(f"p/{NAME}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return to


def list_names(bucket):
    return [name.removeprefix(f"p/{NAME}/") for name in bucket.names()]


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_copy_can_be_resumed_and_has_only_the_newest_checkpoint(bucket, run, tmp_path):
    mirror = Mirror(run.path, "s3://backup/p")
    for step in (1, 2):
        save(run, step)
        mirror.sync()
    names = list_names(bucket)
    assert [name for name in names if "-000001-" in name] == []
    assert len([name for name in names if name.startswith("checkpoints/")]) == 5
    back = copy_back(bucket, tmp_path / "back")
    for which in ("last", "best"):
        loaded = checkpoint.load(back, which)
        assert (loaded.state["step"], loaded.detector()["w"].tolist()) == (2, [2.0] * 3)
    assert mirror.missing() == []


def test_only_changed_files_are_sent(bucket, run):
    mirror = Mirror(run.path, "s3://backup/p")
    save(run, 1)
    mirror.sync()
    first = mirror.files_sent
    mirror.sync()
    assert mirror.files_sent == first == 6
    run.log("more")
    assert mirror.missing() == ["log.jsonl"]
    again = Mirror(run.path, "s3://backup/p/")  # another process
    again.sync()
    assert again.files_sent == 1
    second = Mirror(run.path, "s3://backup/q")
    second.sync()
    assert second.files_sent == 6


def test_checkpoints_are_removed_after_the_bundle_is_uploaded(bucket, run, monkeypatch):
    mirror = Mirror(run.path, "s3://backup/p")
    save(run, 1)
    mirror.sync()
    (run.path / "bundle").mkdir()
    (run.path / "bundle/card.json").write_text("{}")
    checkpoint.remove(run.path)
    order = []
    monkeypatch.setattr(Store, "put", spy_on(Store.put, lambda name: order.append(("put", name)), 2))
    monkeypatch.setattr(Store, "remove", spy_on(Store.remove, lambda name: order.append(("remove", name)), 1))
    mirror.sync()
    assert list_names(bucket) == ["bundle/card.json", "config.yaml", "log.jsonl"]
    kinds = [kind for kind, _ in order]
    assert kinds == sorted(kinds)
    assert order[kinds.index("remove")][1].endswith("current.json")


def spy_on(call, record, which):
    def spy(*arguments):
        record(arguments[which])
        return call(*arguments)

    return spy


@pytest.mark.slow
def test_the_store_refers_to_complete_checkpoints_at_every_moment(bucket, run, tmp_path, monkeypatch):
    mirror = Mirror(run.path, "s3://backup/p")
    save(run, 1)
    mirror.sync()
    save(run, 2)
    step_pairs = []

    def look(_):
        back = copy_back(bucket, tmp_path / f"back{len(step_pairs)}")
        pair = [checkpoint.load(back, which) for which in ("last", "best")]
        assert all(loaded.detector()["w"][0] == loaded.state["step"] for loaded in pair)
        step_pairs.append(tuple(loaded.state["step"] for loaded in pair))

    for name, argument in (("put", 2), ("write", 1), ("remove", 1)):
        monkeypatch.setattr(Store, name, spy_on(getattr(Store, name), look, argument))
    mirror.sync()
    look("")
    assert sorted(set(step_pairs)) == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_a_store_that_fails_midway_keeps_its_checkpoint_and_gets_the_newest_later(bucket, run, tmp_path):
    mirror = Mirror(run.path, "s3://backup/p")
    save(run, 1)
    mirror.sync()
    save(run, 2)
    put, sent = mirror.store.put, []

    def put_and_fail(file, name):
        if name.endswith("state.json"):
            bucket.stop()
        put(file, name)
        sent.append(name)

    mirror.store.put = put_and_fail
    with pytest.raises(pytest.importorskip("botocore.exceptions").EndpointConnectionError):
        mirror.sync()
    assert any(name.endswith("tensors.safetensors") for name in sent)
    assert mirror.missing() == ["checkpoints/best", "checkpoints/last"]
    bucket.start()
    assert checkpoint.load(copy_back(bucket, tmp_path / "back")).state["step"] == 1
    save(run, 3)
    Mirror(run.path, "s3://backup/p").sync()  # another process, which reads the state from disk
    back = copy_back(bucket, tmp_path / "later")
    assert checkpoint.load(back).state["step"] == 3
    assert not [name for name in list_names(bucket) if "-000002-" in name or "-000001-" in name]


def test_a_run_copied_back_to_another_folder_replaces_its_checkpoints(bucket, run, tmp_path):
    save(run, 1)
    Mirror(run.path, "s3://backup/p").sync()
    back = copy_back(bucket, tmp_path / "other" / NAME)
    shutil.rmtree(run.path)
    checkpoint.load(back, "best")
    checkpoint.load(back)
    save(Run(back), 2)
    Mirror(back, "s3://backup/p").sync()
    assert not [name for name in list_names(bucket) if "-000001-" in name]


@pytest.mark.slow
def test_a_store_that_is_down_at_first_has_everything_at_the_end(bucket, run, caplog):
    bucket.stop()
    background = Uploader(Mirror(run.path, "s3://backup/p"))
    save(run, 1)
    wait_for(lambda: failures(caplog))
    bucket.start()
    save(run, 2)
    destination = background.close()
    assert (destination.missing, destination.location) == (None, f"s3://backup/p/{NAME}")
    assert json.loads(bucket.read(f"p/{NAME}/checkpoints/current.json"))["last"].startswith("last-000002-")
    assert len(failures(caplog)) == 1


def failures(caplog):
    return [message for message in caplog.messages if "the upload to s3://backup/p failed" in message]


@pytest.mark.slow
def test_a_store_that_stays_down_only_causes_a_report(bucket, run, monkeypatch):
    monkeypatch.setattr(uploader, "_PATIENCE_S", 0.1)
    bucket.stop()
    background = Uploader(Mirror(run.path, "s3://backup/p"))
    save(run, 1)
    destination = background.close()
    assert destination.missing.startswith("not uploaded: config.yaml, log.jsonl, checkpoints/best, and 1 more (")
    assert "testing-secret" not in destination.missing
    assert checkpoint.load(run.path).state["step"] == 1
    assert not (run.path / ".upload").exists()
    with pytest.raises(OffnormalError, match="not uploaded: config"):
        upload_run(run.path, "s3://backup/p")
    bucket.start()
    assert previous_address(run.path) == "s3://backup/p"
    assert upload_run(run.path, previous_address(run.path)) == (6, f"s3://backup/p/{NAME}")


def test_a_missing_bucket_is_not_created(bucket, run, monkeypatch):
    monkeypatch.setattr(uploader, "_PATIENCE_S", 0.05)
    destination = Uploader(Mirror(run.path, "s3://mistyped/p")).close()
    assert "bucket does not exist" in destination.missing
    assert [entry["Name"] for entry in bucket.client().list_buckets()["Buckets"]] == ["backup"]


def test_a_newer_checkpoint_replaces_those_that_came_during_an_upload(run, monkeypatch):
    started, continues = threading.Event(), threading.Event()
    put, sent = Store.put, []

    def slow(self, file, name):
        sent.append(name)
        if name.endswith("state.json"):
            started.set()
            assert continues.wait(30)
        put(self, file, name)

    monkeypatch.setattr(Store, "put", slow)
    save(run, 1)
    background = Uploader(Mirror(run.path, "memory://backup"))
    assert started.wait(30)
    for step in (2, 3, 4):
        save(run, step)
    continues.set()
    assert background.close().missing is None
    steps = [int(name.split("-")[-2]) for name in sent if name.endswith("state.json")]
    assert steps == [1, 1, 4, 4]


def test_a_checkpoint_is_sent_automatically(run, tmp_path):
    background = Uploader(Mirror(run.path, f"file://{tmp_path}/backup"))
    save(run, 5)
    wait_for((tmp_path / "backup" / NAME / checkpoint.CURRENT).is_file)
    checkpoint.remove(run.path)
    assert background.close().missing is None
    assert sorted(path.name for path in (tmp_path / "backup" / NAME).iterdir()) == ["config.yaml", "log.jsonl"]


def test_the_login_in_an_address_is_used_but_not_stored(run):
    mirror = Mirror(run.path, "memory://me:word@backup")
    mirror.sync()
    assert "word" not in (run.path / "upload.json").read_text()
    with pytest.raises(ConfigError, match="give --upload with the complete URL"):
        upload_run(run.path, previous_address(run.path))
