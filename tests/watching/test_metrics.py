import re
import socket
import struct
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from offnormal.errors import ConfigError
from offnormal.sinks.dispatcher import DeliveryStatus
from offnormal.sources.camera import CameraStatus
from offnormal.watching.camera import CameraCounts
from offnormal.watching.metrics import _WatchCollector, serve_metrics
from tests.servers import free_port

NAME = 'po"rch\\'
STATUS = CameraStatus(
    name=NAME, address="rtsp://***@host/1", state="online", in_state_s=3, reason="", attempts=4, gaps=2, decoded=90,
    delivered=80, dropped=7, frame_age_s=0.25, hung_readers=0,
)  # fmt: skip


def pipeline(last_score=None):
    """The attributes of a WatchPipeline that metrics use."""
    counts = CameraCounts(scored=70, dropped=3, inferred=70, inference_s=1.5, last_score=last_score)
    counts.events["anomaly", "opened"] = 5
    for lag in (0.01, 0.2, 0.21, 99):
        counts.lag.add(lag)
    thresholds, events = SimpleNamespace(threshold=3.5), SimpleNamespace(is_open=True)
    return SimpleNamespace(
        cameras=[SimpleNamespace(name=NAME, counts=counts, thresholds=thresholds, events=events)],
        sources={NAME: SimpleNamespace(status=STATUS)},
        dispatcher=SimpleNamespace(statuses=lambda: [DeliveryStatus("webhook", 11, 2, 1, 4, 0, None)]),
    )


def families(page):
    return list(text_string_to_metric_families(page))


def rows(page):
    """Name and values of the labels -> number."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families(page)
        for sample in family.samples
    }


@pytest.fixture
def page():
    registry = CollectorRegistry()
    registry.register(_WatchCollector(pipeline()))
    return generate_latest(registry).decode()


def test_counts_are_on_the_page(page):
    values_ = rows(page)
    expected = {
        ("offnormal_reconnects_total", NAME): 3,
        ("offnormal_gaps_total", NAME): 2,
        ("offnormal_frames_decoded_total", NAME): 90,
        ("offnormal_frames_scored_total", NAME): 70,
        ("offnormal_frames_unscored_total", NAME): 0,
        ("offnormal_inferences_total", NAME): 70,
        ("offnormal_inference_seconds_total", NAME): 1.5,
        ("offnormal_frames_dropped_total", NAME, "source"): 7,
        ("offnormal_frames_dropped_total", NAME, "scoring"): 3,
        ("offnormal_frame_age_seconds", NAME): 0.25,
        ("offnormal_camera_state", NAME, "online"): 1,
        ("offnormal_camera_state", NAME, "stalled"): 0,
        ("offnormal_threshold", NAME): 3.5,
        ("offnormal_event_open", NAME): 1,
        ("offnormal_events_total", "anomaly", "opened", NAME): 5,
        ("offnormal_deliveries_total", "webhook"): 11,
        ("offnormal_delivery_failures_total", "webhook"): 2,
        ("offnormal_deliveries_waiting", "webhook"): 4,
        ("offnormal_deliveries_refused", "webhook"): 1,
        ("offnormal_deliveries_dropped", "webhook"): 0,
    }
    assert {key: values_[key[0], *sorted(key[1:])] for key in expected} == expected
    assert values_["offnormal_memory_bytes",] > 1 << 20
    assert next(key[1] for key in values_ if key[0] == "offnormal_info").startswith("offnormal ")
    assert not any(name == "offnormal_score" for name, *_ in values_), "no frame was scored"


def test_the_score_appears_after_the_first_scored_frame():
    registry = CollectorRegistry()
    registry.register(_WatchCollector(pipeline(last_score=2.5)))
    assert rows(generate_latest(registry).decode())["offnormal_score", NAME] == 2.5


def test_the_histogram_is_cumulative(page):
    (lag,) = (family for family in families(page) if family.name == "offnormal_lag_seconds")
    by_bound = {sample.labels["le"]: sample.value for sample in lag.samples if "le" in sample.labels}
    assert (by_bound["0.025"], by_bound["0.2"], by_bound["0.3"], by_bound["10.0"], by_bound["+Inf"]) == (1, 2, 3, 3, 4)
    values = {sample.name: sample.value for sample in lag.samples if "le" not in sample.labels}
    assert values == {"offnormal_lag_seconds_count": 4, "offnormal_lag_seconds_sum": pytest.approx(99.42)}


def test_every_metric_has_help_and_a_type_once(page):
    names = re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", page, re.MULTILINE)
    assert len(names) == len(set(names)) == page.count("# HELP ")
    assert all(family.documentation and family.type != "unknown" for family in families(page))


def test_the_page_is_served_on_localhost_and_a_port_in_use_is_refused():
    with serve_metrics(str(free_port()), pipeline()) as url:
        assert url.startswith("http://127.0.0.1:") and url.endswith("/metrics")
        with urllib.request.urlopen(url, timeout=10) as answer:
            served, kind = answer.read().decode(), answer.headers["Content-Type"].split(";")[0]
        assert rows(served)["offnormal_gaps_total", NAME] == 2 and kind == "text/plain"
        with (
            pytest.raises(ConfigError, match="choose another port"),
            serve_metrics(url.split(":")[2].split("/")[0], pipeline()),
        ):
            pass
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


@pytest.mark.parametrize("address", ["70000", "nowhere.invalid:9108"])
def test_an_unavailable_address_is_refused(address):
    with pytest.raises(ConfigError, match="address not available"), serve_metrics(address, pipeline()):
        pass


def test_nothing_is_registered_globally(page):
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("offnormal")]


def test_the_library_is_imported_only_for_serving_metrics():
    code = "import sys, offnormal.verbs.watch, offnormal.cli.watch; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_client_that_hangs_up_prints_no_traceback(capfd):
    with serve_metrics(str(free_port()), pipeline()) as url:
        port = int(url.split(":")[2].split("/")[0])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /metrics HT")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends by a reset
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
    assert "Traceback" not in capfd.readouterr().err
