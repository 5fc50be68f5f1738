"""Secrets out of what people see: logins and tokens in addresses, and any secret that is known."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit

HIDDEN = "***"
_LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")  # up to the last @, since passwords hold some
_QUERY = re.compile(
    r"(?i)([?&;][^=&;#\s]*(?:pass|pwd|token|secret|auth|key|sig|user|login|account|cred)[^=&;#\s]*=)"
    r"(?!\*{3})[^&;#\s'\"]*"
)
_SECRET_NAME = re.compile(r"(?i)(key|secret|token|password|passwd)(_id)?$")
_SHORTEST = 8  # characters of a value of the environment that is looked for
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s'\"<>]+", re.IGNORECASE)
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_\-:.=+]{16,}$")  # a part of a path that nobody would choose


def redact(text: str, *secrets: str) -> str:
    """The text without `secrets`, values of the environment that are secret, and what is secret in its addresses.

    Of an address these are user and password, and values of keys such as token or password.

    >>> redact("rtsp://admin:p@ss@10.0.0.5/1?token=abc&fps=5 refused")
    'rtsp://***@10.0.0.5/1?token=***&fps=5 refused'
    """
    known = [value for name, value in os.environ.items() if len(value) >= _SHORTEST and _SECRET_NAME.search(name)]
    for secret in sorted(filter(None, (*secrets, *known)), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def redact_hooks(text: str, *secrets: str) -> str:
    """As `redact`, and without what follows the host of web addresses: whoever knows a webhook's path can post to it.

    Addresses of other schemes lose fragments and parts of paths that look like tokens.

    >>> redact_hooks("https://hooks.example:8443/services/T0/XyZ refused")
    'https://hooks.example:8443/*** refused'
    """
    return _ADDRESS.sub(lambda found: _without_tokens(found[0]), redact(text, *secrets))


def without_login(url: str) -> bool:
    """Whether an address was stored by `redact` and lacks what it takes to use it."""
    return HIDDEN in url


def _without_tokens(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://{HIDDEN}"
    if parts.scheme in ("http", "https"):
        hidden = parts.path.strip("/") or parts.query or parts.fragment
        return f"{parts.scheme}://{parts.netloc}{f'/{HIDDEN}' if hidden else parts.path}"
    path = "/".join(HIDDEN if _TOKEN.match(part) else part for part in parts.path.split("/"))
    return SplitResult(parts.scheme, parts.netloc, path, parts.query, parts.fragment and HIDDEN).geturl()
