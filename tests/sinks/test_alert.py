import asyncio
import email
import email.policy
import socket
import sys
import threading
import warnings
from contextlib import contextmanager

import pytest
from PIL import Image

from offnormal.errors import ConfigError
from offnormal.sinks.alert import body, title
from offnormal.sinks.base import DeliveryError
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.testing.events import event, message
from tests.sinks.test_dispatcher import FAST, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def alert(url, **options):
    (sink,) = open_sinks([{"kind": "apprise", "url": url, **options}], environment={}).values()
    sink._server.request_rate_per_sec = 0  # Apprise waits 5.5 s between two mails
    return sink


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mailbox:
    """A mail server's handler that stores or refuses mails."""

    def __init__(self):
        self.mails, self.refusing, self.limit = [], False, 10**9

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        if self.refusing:
            return "451 try again later"
        if len(envelope.content) > self.limit:
            return "552 message too large"
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@contextmanager
def mail_server(port, *, refusing=False):
    from aiosmtpd.controller import Controller

    box = Mailbox()
    box.refusing = refusing  # set before the server answers
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@contextmanager
def mqtt_broker(port):
    """A real broker with its own event loop."""
    from amqtt.broker import Broker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop = asyncio.new_event_loop()
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }

        async def begin():
            broker = Broker(config)
            await broker.start()
            return broker

        broker = loop.run_until_complete(begin())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextmanager
def listening(port, topic):
    """Payloads that a client of the broker receives on a topic."""
    import paho.mqtt.client as mqtt

    payloads, ready = [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe(topic)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _client, _data, received: payloads.append(received.payload.decode())
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(20)
    try:
        yield payloads
    finally:
        client.loop_stop()
        client.disconnect()


@pytest.fixture
def image_message(tmp_path):
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "heat.jpg")
    return message(folder=tmp_path, state="open", heat_map="heat.jpg", snapshot="gone.jpg")


def mailto(port):
    return f"mailto://127.0.0.1:{port}/?from=camera@example.org&to=guard@example.org&mode=insecure"


def test_a_mail_arrives_with_the_image(image_message):
    port = free_port()
    with mail_server(port) as box:
        alert(mailto(port)).deliver(image_message)
        (mail,) = box.mails
    assert mail["subject"] == "porch: anomaly (high), since 2026-11-21 12:00:00 UTC"
    assert "guard@example.org" in mail["to"]
    (attached,) = mail.iter_attachments()
    assert attached.get_content_type() == "image/jpeg" and attached.get_content()[:2] == b"\xff\xd8"
    text = mail.get_body(("plain", "html")).get_content()
    assert text.splitlines() == body(image_message.event).splitlines()
    assert "Peak score 4.500, threshold 3.000" in text and image_message.event.id in text


@pytest.mark.slow
def test_mails_wait_while_the_server_is_down_or_refuses(tmp_path, caplog):
    port = free_port()
    sinks = {"mail": alert(mailto(port), when=["closed"])}
    with Dispatcher(sinks, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(0))
        until(lambda: dispatcher.statuses()[0].failures > 0)
        with mail_server(port, refusing=True) as box:
            failures = dispatcher.statuses()[0].failures
            until(lambda: dispatcher.statuses()[0].failures > failures + 1)
            dispatcher.send(event(1))
            box.refusing = False
            assert dispatcher.drain(30)
            assert [mail["subject"] for mail in box.mails] == [title(event(number), "closed") for number in range(2)]


@pytest.mark.slow
def test_a_message_that_is_too_large_is_sent_with_fewer_attachments(tmp_path):
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "heat.jpg")
    (tmp_path / "clip.mp4").write_bytes(bytes(200_000))
    port = free_port()
    sinks = {"mail": alert(mailto(port), when=["closed"], clip=True)}
    with mail_server(port) as box, Dispatcher(sinks, tmp_path / "s.db", folder=tmp_path, **FAST) as dispatcher:
        box.limit = 100_000
        for number in range(2):
            dispatcher.send(event(number, heat_map="heat.jpg", clip="clip.mp4"))
        assert dispatcher.drain(30)
        assert [mail["subject"] for mail in box.mails] == [title(event(number), "closed") for number in range(2)]
        for mail in box.mails:
            assert [part.get_filename() for part in mail.iter_attachments()] == ["heat.jpg"]
            assert "rejected with it: clip.mp4" in mail.get_body(("plain", "html")).get_content()
        box.limit = 10**9
        dispatcher.send(event(2, heat_map="heat.jpg", clip="clip.mp4"))
        assert dispatcher.drain(30)
    assert len(list(box.mails[-1].iter_attachments())) == 2


def test_a_message_arrives_at_a_real_broker():
    port = free_port()
    with mqtt_broker(port), listening(port, "cameras/porch") as payloads:
        sink = alert(f"mqtt://127.0.0.1:{port}/cameras/porch", when=["closed"])
        sink.deliver(message(0))
        until(lambda: payloads)
    assert title(event(0), "closed") in payloads[0] and body(event(0)).splitlines()[-1] in payloads[0]


def test_errors_contain_no_passwords(caplog):
    port = free_port()
    sink = alert(f"mailto://user:hunter2@127.0.0.1:{port}/?from=c@example.org&to=g@example.org&mode=insecure")
    with pytest.raises(DeliveryError) as error:
        sink.deliver(message(0))
    assert "hunter2" not in str(error.value) + caplog.text + sink.description and "127.0.0.1" in sink.description


def test_without_apprise_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"alerts to mailto:// need Apprise: pip install 'offnormal\[alerts\]'"):
        alert(mailto(25))


def test_title_and_body():
    assert title(event(0, severity=None, kind="no_frames"), "opened").startswith("porch: no frames, since 2026")
    lines = body(event(0, state="open", detail="dark", problems=("clip: full",))).splitlines()
    assert lines[0].endswith("(still open)") and lines[1] == "dark" and lines[3] == "Missing: clip: full"
    assert lines[2] == "Peak score 4.500, threshold 3.000, p-value 1e-07"
