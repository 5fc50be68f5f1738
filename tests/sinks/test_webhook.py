import base64
import contextlib
import hashlib
import hmac
import json
import re
import socket
import threading
import time

import pytest

from offnormal.errors import ConfigError
from offnormal.sinks.base import DeliveryError
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.testing.events import event, message
from tests.sinks.hook import hook


def webhook(url, **options):
    (sink,) = open_sinks([{"kind": "webhook", "url": url, **options}], environment={}).values()
    return sink


@pytest.fixture
def server():
    with hook() as hook_server:
        yield hook_server


def test_a_message_arrives_signed(server):
    webhook(server.url, secret="k\u00e9y").deliver(message(3))
    ((headers, body),) = server.posts
    values = json.loads(body)
    assert values["id"] == headers["Idempotency-Key"] == f"{event(3).id}-closed"
    assert values["event"]["camera"] == "porch" and values["event"]["format_version"] == 3
    stamp = headers["X-Offnormal-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    expected = hmac.new("k\u00e9y".encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Offnormal-Signature"] == f"sha256={expected}"
    assert headers["Content-Type"] == "application/json" and "Authorization" not in headers


def test_user_and_password_are_sent_and_never_printed(server):
    address = server.url.replace("//", "//us%20er:hunter2@")
    sink = webhook(address + "?token=abc")
    sink.deliver(message())
    assert base64.b64decode(server.posts[0][0]["Authorization"].removeprefix("Basic ")) == b"us er:hunter2"
    assert sink.description == f"webhook http://***@{server.url[7:].partition('/')[0]}/***"


@pytest.mark.parametrize("error", ["refused by {url}", "what is {path} here?", "no {query}"])
def test_only_scheme_host_and_port_of_the_url_are_printed(error, monkeypatch, tmp_path, caplog):
    url = "https://hooks.example:8443/services/T0AB1/B0CD2/quiet?part=one"
    sink = webhook(url)
    words = error.format(url=url, path="/services/T0AB1/B0CD2/quiet", query="part=one")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(words)

    monkeypatch.setattr("socket.create_connection", refuse)
    with Dispatcher({"hook": sink}, tmp_path / "spool.db") as dispatcher:
        dispatcher.send(message().event)
        while not (error_text := dispatcher.statuses()[0].last_error):
            time.sleep(0.01)
    assert "hooks.example:8443" in sink.description and "hooks.example:8443" in caplog.text
    assert not re.search("services|quiet|part=one", f"{sink.description} {error_text} {caplog.text}")


def test_webhooks_of_one_host_have_different_names():
    paths = ["services/T0/B0/aaaaaaaaaaaaaaaa1", "services/T0/B0/aaaaaaaaaaaaaaaa2"]
    names = list(open_sinks([f"webhook:https://hooks.example/{path}" for path in paths], environment={}))
    assert len(set(names)) == 2 and not any("aaaa" in name for name in names)


def test_images_are_sent_if_requested(server, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"image")
    sent = message(folder=tmp_path, snapshot="a.jpg", heat_map="gone.jpg")
    webhook(server.url, images=True).deliver(sent)
    webhook(server.url).deliver(sent)
    with_images, without = (json.loads(body) for _, body in server.posts)
    assert base64.b64decode(with_images["images"]["snapshot"]) == b"image"
    assert list(with_images["images"]) == ["snapshot"] and "images" not in without


@pytest.mark.parametrize(
    ("answer", "refused"),
    [(500, False), (503, False), (401, False), (404, False), (429, False), (302, False), (400, True), (422, True)],
)
def test_the_status_code_decides_whether_a_message_is_refused(server, answer, refused):
    server.answer = answer
    server.headers_sent = {"Location": server.url + "/other"}
    with pytest.raises(DeliveryError, match=f"answered {answer}") as error:
        webhook(server.url).deliver(message())
    assert error.value.refused is refused and server.attempts == 1


@pytest.mark.parametrize(
    ("retry_after", "wait_s"), [("7", 7.0), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
def test_retry_after_sets_the_wait(server, retry_after, wait_s):
    server.answer, server.headers_sent = 503, {"Retry-After": retry_after}
    with pytest.raises(DeliveryError) as error:
        webhook(server.url).deliver(message())
    assert error.value.wait_s == wait_s


def test_refused_hanging_and_closed_connections_are_errors(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(DeliveryError, match="refused"):
            webhook(f"http://127.0.0.1:{free.getsockname()[1]}/").deliver(message())
    server.answer = "hang"
    with pytest.raises(DeliveryError, match=r"no complete answer within 0\.2 s"):
        webhook(server.url, timeout_s=0.2).deliver(message())
    server.answer = "close"
    with pytest.raises(DeliveryError, match="closed connection"):
        webhook(server.url).deliver(message())


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://a b/", "http://x:99999/", "x.example/hook"])
def test_invalid_urls_are_refused(url):
    with pytest.raises(ConfigError, match=r"url: (expected a URL|expected a port)"):
        webhook(url)


@pytest.mark.parametrize(
    ("scheme", "start"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nX-Slow: "),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00\x02"),
    ],
)
def test_an_endpoint_that_drips_is_cut_off_and_its_thread_ends(scheme, start):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(start)
                while True:
                    connection.sendall(b"a")
                    time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        sink = webhook(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.3)
        with pytest.raises(DeliveryError, match=r"no complete answer within 0\.3 s"):
            sink.deliver(message())
        sink._timed._thread.join(10)
        assert not sink._timed._thread.is_alive()
