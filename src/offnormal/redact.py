"""Secrets out of what people see: passwords and tokens in addresses, and any secret that is known."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

HIDDEN = "***"
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s'\"<>]+", re.IGNORECASE)
_SECRET_KEYS = re.compile(r"pass|pwd|^pw$|token|secret|key|auth|sig|cred|user|login", re.IGNORECASE)
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_\-:.=+]{16,}$")  # a part of a path that nobody would choose


def redact(text: str, *secrets: str) -> str:
    """The text with whatever is secret in its addresses hidden, and every one of `secrets`.

    Of an address these are user and password, values of keys such as token or password, and parts of the path that
    look like tokens.

    >>> redact("rtsp://admin:hunter2@10.0.0.5/1?token=abc&fps=5 refused")
    'rtsp://***@10.0.0.5/1?token=***&fps=5 refused'
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _ADDRESS.sub(lambda found: _address(found[0]), text)


def _address(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://{HIDDEN}"
    host = parts.netloc.rpartition("@")[2]
    hidden = SplitResult(
        parts.scheme,
        f"{HIDDEN}@{host}" if "@" in parts.netloc else host,
        "/".join(HIDDEN if _TOKEN.match(part) else part for part in parts.path.split("/")),
        "&".join(_value(pair) for pair in parts.query.split("&")),
        parts.fragment and HIDDEN,
    )
    return hidden.geturl()


def _value(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={HIDDEN}" if equals and value and _SECRET_KEYS.search(name) else pair
