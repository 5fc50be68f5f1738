"""Post events to a URL as JSON, signed so that the receiver can verify the sender."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator

from offnormal.events.event import software
from offnormal.redact import redact, redact_webhooks
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions
from offnormal.sinks.deadline import TimedCalls

SIGNATURE, TIMESTAMP, IDENTITY = "X-Offnormal-Signature", "X-Offnormal-Timestamp", "Idempotency-Key"
_REFUSED_FOR_GOOD = (400, 405, 406, 410, 411, 413, 414, 415, 422, 431)  # the message itself is at fault
_MAX_ANSWER_BYTES = 65_536
_IMAGES: tuple[Literal["snapshot", "heat_map"], ...] = ("snapshot", "heat_map")


class WebhookOptions(SinkOptions):
    """Options of a webhook."""

    url: str
    """http or https URL; user:password@ is sent as basic authentication."""
    secret: SecretStr | None = None
    """Key of the signature; default: the environment variable OFFNORMAL_WEBHOOK_SECRET."""
    images: bool = False
    """Include the images, as base64 under `images`."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest time for connecting, sending, and the complete answer, in seconds."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("expected a port from 0 to 65535") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or any(letter.isspace() for letter in value):
            raise ValueError("expected a URL such as http://127.0.0.1:9000")
        return value


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The signature header: HMAC-SHA256 of the timestamp, a period, and the body.

    >>> signature("key", "1700000000", b"{}")[:16]
    'sha256=9d713ed40'
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSink(Sink):
    """Posts each message; any answer from 200 to 299 accepts it.

    Answers about the message itself (such as 400 and 422) refuse it for good. After any other answer, or none, it is
    posted again. Redirects are not followed.
    """

    Options = WebhookOptions
    default_when = ("opened", "closed")
    target_option = "url"

    def __init__(self, options: WebhookOptions) -> None:
        super().__init__(options)
        parts = urlsplit(options.url)
        user, at, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self._secret = options.secret.get_secret_value() if options.secret is not None else None
        self._headers = {"Content-Type": "application/json", "User-Agent": software().replace(" ", "/")}
        self._hidden = [self._secret or "", *(part for part in (parts.path, parts.query) if len(part) > 1)]
        if at:
            self._headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
            self._hidden += [user, unquote(user), *user.split(":", 1)[1:], *unquote(user).split(":", 1)[1:]]
        self._images, self._timeout_s = options.images, options.timeout_s
        self._timed = TimedCalls()
        self._address = options.url

    @property
    def description(self) -> str:
        """Scheme, host, and port; the rest of the URL may be secret."""
        return f"webhook {redact_webhooks(self._address)}"

    @property
    def identity(self) -> str:
        """See `Sink.identity`: the URL without login and query values; only its hash is printed."""
        return f"webhook {redact(self._address)}"

    def deliver(self, message: Message) -> None:
        """Post the message; DeliveryError unless it is accepted."""
        body = self._body(message)
        headers = {**self._headers, IDENTITY: message.id, TIMESTAMP: str(int(time.time()))}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, headers[TIMESTAMP], body)
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            self._post(request)
        except urllib.error.HTTPError as error:
            error.close()
            why = f"answered {error.code} {error.reason}"
            raise self._error(
                why, refused=error.code in _REFUSED_FOR_GOOD, wait_s=_retry_after_s(error.headers)
            ) from None
        except (OSError, HTTPException) as error:  # including URLError and timeouts
            raise self._error(str(getattr(error, "reason", "") or error or type(error).__name__)) from None

    def _post(self, request: urllib.request.Request) -> None:
        """Exchange request and answer within the time limit, from the lookup of the name to the end of the answer."""
        exchange = _Exchange(request, self._timeout_s)
        try:
            self._timed(exchange, exchange.run, limit_s=self._timeout_s)
        except TimeoutError:
            exchange.abort()
            raise

    def _error(self, why: str, *, refused: bool = False, wait_s: float | None = None) -> DeliveryError:
        return DeliveryError(redact_webhooks(why, *self._hidden), refused=refused, wait_s=wait_s)

    def _body(self, message: Message) -> bytes:
        values = message.to_json()
        if self._images:
            paths = {name: message.file(name) for name in _IMAGES}
            values["images"] = {
                name: base64.b64encode(path.read_bytes()).decode() for name, path in paths.items() if path is not None
            }
        return json.dumps(values).encode()


class _Exchange:
    """One request and its answer, which another thread can abort."""

    def __init__(self, request: urllib.request.Request, timeout_s: float) -> None:
        self._request, self._timeout_s = request, timeout_s
        self._sockets: list[socket.socket] = []
        self._is_aborted = False
        self._opener = urllib.request.build_opener(_NoRedirection, _Http(self._connect), _Https(self._connect))

    def run(self) -> None:
        """Send the request and read the answer."""
        try:
            # the caller's deadline comes first; this one ends a thread whose connection cannot be aborted
            with self._opener.open(self._request, timeout=2 * self._timeout_s) as answer:
                answer.read(_MAX_ANSWER_BYTES)
        finally:
            for copy in self._sockets:
                copy.close()

    def abort(self) -> None:
        """End the connection, and `run` with it; only a lookup of the name cannot be ended."""
        self._is_aborted = True
        for copy in self._sockets:
            with contextlib.suppress(OSError):  # closed in the meantime
                copy.shutdown(socket.SHUT_RDWR)

    def _connect(self, *args: Any, **kwargs: Any) -> socket.socket:
        connection = socket.create_connection(*args, **kwargs)
        self._sockets.append(connection.dup())  # TLS takes the first one over
        if self._is_aborted:
            self.abort()
        return connection


class _Http(urllib.request.HTTPHandler):
    """Connects through a function; so does `_Https`."""

    def __init__(self, connect: Callable[..., socket.socket]) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        def connection(host: str, **options: Any) -> HTTPConnection:
            new = HTTPConnection(host, **options)
            vars(new)["_create_connection"] = self._connect
            return new

        return self.do_open(connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connect: Callable[..., socket.socket]) -> None:
        super().__init__()
        self._connect = connect

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        def connection(host: str, **options: Any) -> HTTPSConnection:
            new = HTTPSConnection(host, **options)
            vars(new)["_create_connection"] = self._connect
            return new

        return self.do_open(connection, req)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a redirected POST would become a GET, or send its signature to a stranger."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _retry_after_s(headers: Headers | None) -> float | None:
    """Seconds to wait from the header Retry-After, a number or a date."""
    text = "" if headers is None else headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except ValueError:
        return None
