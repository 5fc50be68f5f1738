import re
import urllib.error
import urllib.request

import pytest

from offnormal.errors import ConfigError
from offnormal.sinks.dispatcher import DeliveryStatus
from offnormal.sources.camera import CameraStatus
from offnormal.watching.exposition import MetricsServer, exposition
from offnormal.watching.statistics import CameraStatistics
from tests.servers import free_port

ROW = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
STATUS = CameraStatus(
    name='po"rch', address="rtsp://***@host/1", state="online", in_state_s=3, reason="", attempts=4, gaps=2, decoded=90,
    given=80, dropped=7, frame_age_s=0.25, hanging=0,
)  # fmt: skip


class Camera:
    """As much of a WatchedCamera as is shown."""

    def __init__(self):
        self.counted = CameraStatistics(scored=70, dropped=3, inferred=70, inference_s=1.5)
        self.counted.events["anomaly", "opened"] = 5
        for lag in (0.01, 0.2, 0.21, 99):
            self.counted.lag.add(lag)
        self.thresholds = type("Thresholds", (), {"threshold": 3.5})
        self.events = type("Events", (), {"is_open": True})


def rows(page):
    found = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            name, labels, value = ROW.fullmatch(line).groups()
            found[name, labels] = float(value)
    return found


@pytest.fixture
def page():
    sink = DeliveryStatus("webhook", 11, 2, 1, 4, 0, None)
    return exposition([(STATUS, Camera())], [sink], 1 << 20)


def test_what_is_counted_is_on_the_page(page):
    found = rows(page)
    camera = r'camera="po\"rch"'
    assert found["offnormal_reconnects_total", camera] == 3
    assert found["offnormal_frames_decoded_total", camera] == 90
    assert found["offnormal_frames_dropped_total", f'{camera},where="source"'] == 7
    assert found["offnormal_frames_dropped_total", f'{camera},where="scoring"'] == 3
    assert found["offnormal_camera_state", f'{camera},state="online"'] == 1
    assert found["offnormal_camera_state", f'{camera},state="stalled"'] == 0
    assert found["offnormal_events_total", f'{camera},kind="anomaly",state="opened"'] == 5
    assert found["offnormal_deliveries_waiting", 'sink="webhook"'] == 4
    assert found["offnormal_memory_bytes", None] == 1 << 20
    assert not any(name == "offnormal_score" for name, _ in found), "there was none"


def test_the_histogram_is_cumulated_with_everything_below_infinity(page):
    lags = {labels: n for (name, labels), n in rows(page).items() if name == "offnormal_lag_seconds_bucket"}
    by_bound = {labels.rpartition("le=")[2].strip('"'): n for labels, n in lags.items()}
    assert (by_bound["0.025"], by_bound["0.2"], by_bound["0.3"], by_bound["10.0"], by_bound["+Inf"]) == (1, 2, 3, 3, 4)


def test_every_metric_has_help_and_a_type_once(page):
    names = re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", page, re.MULTILINE)
    assert len(names) == len(set(names)) == page.count("# HELP ")
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in rows(page)}
    assert shown <= set(names)


def test_the_server_listens_on_this_machine_alone_and_refuses_a_port_in_use():
    server = MetricsServer(str(free_port()), lambda: "page\n")
    try:
        assert server.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert (answer.read(), answer.headers["Content-Type"].split(";")[0]) == (b"page\n", "text/plain")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.url.replace("metrics", "other"), timeout=10)
        with pytest.raises(ConfigError, match="choose another port"):
            MetricsServer(server.url.split(":")[2].split("/")[0], lambda: "")
    finally:
        server.close()
