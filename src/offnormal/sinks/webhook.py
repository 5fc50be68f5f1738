"""Events posted to an address as JSON, signed so that the receiver knows whom they come from."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from typing import IO, Annotated, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator

from offnormal.events.event import software
from offnormal.redact import redact, redact_webhooks
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions

SIGNATURE, TIMESTAMP, IDENTITY = "X-Offnormal-Signature", "X-Offnormal-Timestamp", "Idempotency-Key"
_NEVER = (400, 405, 406, 410, 411, 413, 414, 415, 422, 431)  # about this message; all else may change
_MOST_READ = 65_536  # bytes of an answer
_PICTURES: tuple[Literal["snapshot", "heat_map"], ...] = ("snapshot", "heat_map")


class WebhookOptions(SinkOptions):
    """What can be chosen of a webhook."""

    url: str
    """http or https address; user:password@ in it is sent as basic authentication."""
    secret: SecretStr | None = None
    """Key of the signature; also OFFNORMAL_WEBHOOK_SECRET in the environment."""
    pictures: bool = False
    """Send the pictures along, as base64 under `pictures`."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest wait for the other side to say anything."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("the port is no number from 0 to 65535") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or any(letter.isspace() for letter in value):
            raise ValueError("expected an address such as http://127.0.0.1:9000/hook")
        return value


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What the header says: HMAC-SHA256 over the timestamp, a point, and the body.

    >>> signature("key", "1700000000", b"{}")[:16]
    'sha256=9d713ed40'
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSink(Sink):
    """Posts each message; any answer of 200 to 299 takes it.

    Answers that speak of the message itself (such as 400 and 422) refuse it for good; after any other, and when nobody
    answers, it is posted again. Redirections are not followed.
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
        self._pictures, self._timeout_s = options.pictures, options.timeout_s
        self._opener = urllib.request.build_opener(_NoRedirection)
        self._address = options.url

    @property
    def shown(self) -> str:
        """Scheme, host, and port: the rest of the address may be what it takes to post there."""
        return f"webhook {redact_webhooks(self._address)}"

    @property
    def identity(self) -> str:
        """See `Sink.identity`; the address without login and query values, of which only a hash is ever shown."""
        return f"webhook {redact(self._address)}"

    def deliver(self, message: Message) -> None:
        """Post the message; DeliveryError unless it is taken."""
        body = self._body(message)
        headers = {**self._headers, IDENTITY: message.id, TIMESTAMP: str(int(time.time()))}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, headers[TIMESTAMP], body)
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(_MOST_READ)
        except urllib.error.HTTPError as error:
            error.close()
            why = f"answered {error.code} {error.reason}"
            raise self._error(why, refused=error.code in _NEVER, wait_s=_asked(error.headers)) from None
        except (OSError, HTTPException) as error:  # URLError and time-outs among them
            raise self._error(str(getattr(error, "reason", "") or error or type(error).__name__)) from None

    def _error(self, why: str, *, refused: bool = False, wait_s: float | None = None) -> DeliveryError:
        return DeliveryError(redact_webhooks(why, *self._hidden), refused=refused, wait_s=wait_s)

    def _body(self, message: Message) -> bytes:
        values = message.to_json()
        if self._pictures:
            found = {name: message.file(name) for name in _PICTURES}
            values["pictures"] = {
                name: base64.b64encode(path.read_bytes()).decode() for name, path in found.items() if path is not None
            }
        return json.dumps(values).encode()


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, or with its signature at a stranger's."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _asked(headers: Headers | None) -> float | None:
    """Seconds that the answer asks to wait (Retry-After: a number or a date)."""
    text = "" if headers is None else headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except ValueError:
        return None
