"""A run's copy in a store: what it holds after every kind of trouble."""

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
from offnormal.training.upload.uploader import Mirror, Uploader, address_of, bring_now

NAME = "20261121-105426-plain-parts"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_FIRST_S", 0.01)
    monkeypatch.setattr(worker, "_LONGEST_S", 0.05)
    monkeypatch.setattr(uploader, "_EVERY_S", 0.005)
    made = Run(tmp_path / "runs" / NAME)
    made.path.mkdir(parents=True)
    made.write_config({"size": "16"})
    made.log("start")
    return made


def save(run, step):
    run.log("step", step=step)
    checkpoint.save(run.path, "best", {"w": torch.full((3,), float(step))}, {"step": step})
    checkpoint.save(run.path, "last", {"w": torch.full((3,), float(step))}, {"step": step})


def copied_back(bucket, to):
    """What a plain copy of everything in the store gives."""
    for name in bucket.names():
        path = to / name.removeprefix(f"p/{NAME}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return to


def below(bucket):
    return [name.removeprefix(f"p/{NAME}/") for name in bucket.names()]


def until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_copy_can_be_gone_on_from_and_holds_the_newest_checkpoint_alone(bucket, run, tmp_path):
    mirror = Mirror(run.path, "s3://kept/p")
    for step in (1, 2):
        save(run, step)
        mirror.bring()
    names = below(bucket)
    assert [name for name in names if "-000001-" in name] == []
    assert len([name for name in names if name.startswith("checkpoints/")]) == 5
    back = copied_back(bucket, tmp_path / "back")
    for which in ("last", "best"):
        found = checkpoint.load(back, which)
        assert (found.state["step"], found.detector()["w"].tolist()) == (2, [2.0] * 3)
    assert mirror.missing() == []


def test_only_what_has_changed_is_sent(bucket, run):
    mirror = Mirror(run.path, "s3://kept/p")
    save(run, 1)
    mirror.bring()
    first = mirror.sent
    mirror.bring()
    assert mirror.sent == first == 6
    run.log("more")
    assert mirror.missing() == ["log.jsonl"]
    again = Mirror(run.path, "s3://kept/p/")  # another process
    again.bring()
    assert again.sent == 1
    elsewhere = Mirror(run.path, "s3://kept/q")
    elsewhere.bring()
    assert elsewhere.sent == 6


def test_checkpoints_go_when_the_fit_has_ended_after_the_bundle_has_come(bucket, run, monkeypatch):
    mirror = Mirror(run.path, "s3://kept/p")
    save(run, 1)
    mirror.bring()
    (run.path / "bundle").mkdir()
    (run.path / "bundle/card.json").write_text("{}")
    checkpoint.remove(run.path)
    order = []
    monkeypatch.setattr(Store, "put", spied(Store.put, lambda name: order.append(("put", name)), 2))
    monkeypatch.setattr(Store, "remove", spied(Store.remove, lambda name: order.append(("remove", name)), 1))
    mirror.bring()
    assert below(bucket) == ["bundle/card.json", "config.yaml", "log.jsonl"]
    kinds = [kind for kind, _ in order]
    assert kinds == sorted(kinds)
    assert order[kinds.index("remove")][1].endswith("current.json")


def spied(call, tell, which):
    def spy(*arguments):
        tell(arguments[which])
        return call(*arguments)

    return spy


@pytest.mark.slow
def test_the_store_names_whole_checkpoints_at_every_moment(bucket, run, tmp_path, monkeypatch):
    mirror = Mirror(run.path, "s3://kept/p")
    save(run, 1)
    mirror.bring()
    save(run, 2)
    seen = []

    def look(_):
        back = copied_back(bucket, tmp_path / f"back{len(seen)}")
        pair = [checkpoint.load(back, which) for which in ("last", "best")]
        assert all(found.detector()["w"][0] == found.state["step"] for found in pair)
        seen.append(tuple(found.state["step"] for found in pair))

    for name, at in (("put", 2), ("write", 1), ("remove", 1)):
        monkeypatch.setattr(Store, name, spied(getattr(Store, name), look, at))
    mirror.bring()
    look("")
    assert sorted(set(seen)) == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_a_store_that_dies_in_the_middle_keeps_what_it_had_and_gets_the_newest_later(bucket, run, tmp_path):
    mirror = Mirror(run.path, "s3://kept/p")
    save(run, 1)
    mirror.bring()
    save(run, 2)
    put, sent = mirror.store.put, []

    def dies(file, name):
        if name.endswith("state.json"):
            bucket.stop()
        put(file, name)
        sent.append(name)

    mirror.store.put = dies
    with pytest.raises(pytest.importorskip("botocore.exceptions").EndpointConnectionError):
        mirror.bring()
    assert any(name.endswith("tensors.safetensors") for name in sent)
    assert mirror.missing() == ["checkpoints/best", "checkpoints/last"]
    bucket.start()
    assert checkpoint.load(copied_back(bucket, tmp_path / "back")).state["step"] == 1
    save(run, 3)
    Mirror(run.path, "s3://kept/p").bring()  # another process: what it knows was written down
    back = copied_back(bucket, tmp_path / "later")
    assert checkpoint.load(back).state["step"] == 3
    assert not [name for name in below(bucket) if "-000002-" in name or "-000001-" in name]


def test_a_run_copied_back_elsewhere_replaces_the_checkpoints_that_it_came_from(bucket, run, tmp_path):
    save(run, 1)
    Mirror(run.path, "s3://kept/p").bring()
    back = copied_back(bucket, tmp_path / "other" / NAME)
    shutil.rmtree(run.path)
    checkpoint.load(back, "best")
    checkpoint.load(back)
    save(Run(back), 2)
    Mirror(back, "s3://kept/p").bring()
    assert not [name for name in below(bucket) if "-000001-" in name]


@pytest.mark.slow
def test_a_store_that_is_away_at_first_has_everything_at_the_end(bucket, run, caplog):
    bucket.stop()
    made = Uploader(Mirror(run.path, "s3://kept/p"))
    save(run, 1)
    until(lambda: failures(caplog))
    bucket.start()
    save(run, 2)
    found = made.close()
    assert (found.missing, found.place) == (None, f"s3://kept/p/{NAME}")
    assert json.loads(bucket.read(f"p/{NAME}/checkpoints/current.json"))["last"].startswith("last-000002-")
    assert len(failures(caplog)) == 1


def failures(caplog):
    return [message for message in caplog.messages if "the upload to s3://kept/p fails" in message]


@pytest.mark.slow
def test_a_store_that_is_away_for_ever_costs_nothing_but_a_report(bucket, run, monkeypatch):
    monkeypatch.setattr(uploader, "_PATIENCE_S", 0.1)
    bucket.stop()
    made = Uploader(Mirror(run.path, "s3://kept/p"))
    save(run, 1)
    found = made.close()
    assert found.missing.startswith("not uploaded: config.yaml, log.jsonl, checkpoints/best and 1 more (")
    assert "testing-secret" not in found.missing
    assert checkpoint.load(run.path).state["step"] == 1
    assert not (run.path / ".upload").exists()
    with pytest.raises(OffnormalError, match="not uploaded: config"):
        bring_now(run.path, "s3://kept/p")
    bucket.start()
    assert address_of(run.path) == "s3://kept/p"
    assert bring_now(run.path, address_of(run.path)) == (6, f"s3://kept/p/{NAME}")


def test_a_bucket_that_is_not_there_is_not_made(bucket, run, monkeypatch):
    monkeypatch.setattr(uploader, "_PATIENCE_S", 0.05)
    found = Uploader(Mirror(run.path, "s3://mistyped/p")).close()
    assert "bucket does not exist" in found.missing
    assert [one["Name"] for one in bucket.client().list_buckets()["Buckets"]] == ["kept"]


def test_a_newer_checkpoint_supersedes_those_that_came_while_another_was_sent(run, monkeypatch):
    going, may = threading.Event(), threading.Event()
    put, sent = Store.put, []

    def slow(self, file, name):
        sent.append(name)
        if name.endswith("state.json"):
            going.set()
            assert may.wait(30)
        put(self, file, name)

    monkeypatch.setattr(Store, "put", slow)
    save(run, 1)
    made = Uploader(Mirror(run.path, "memory://kept"))
    assert going.wait(30)
    for step in (2, 3, 4):
        save(run, step)
    may.set()
    assert made.close().missing is None
    steps = [int(name.split("-")[-2]) for name in sent if name.endswith("state.json")]
    assert steps == [1, 1, 4, 4]


def test_a_checkpoint_is_sent_without_being_asked(run, tmp_path):
    made = Uploader(Mirror(run.path, f"file://{tmp_path}/kept"))
    save(run, 5)
    until((tmp_path / "kept" / NAME / checkpoint.NAMES).is_file)
    checkpoint.remove(run.path)
    assert made.close().missing is None
    assert sorted(path.name for path in (tmp_path / "kept" / NAME).iterdir()) == ["config.yaml", "log.jsonl"]


def test_the_login_in_an_address_is_used_and_not_kept(run):
    mirror = Mirror(run.path, "memory://me:word@kept")
    mirror.bring()
    assert "word" not in (run.path / "upload.json").read_text()
    with pytest.raises(ConfigError, match="give --upload with the whole address"):
        bring_now(run.path, address_of(run.path))
