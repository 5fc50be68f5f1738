"""Remove secrets from text that people see: logins and tokens in addresses, and known secrets."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit

HIDDEN = "***"
_LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")  # up to the last @: passwords may contain one
_QUERY = re.compile(
    r"(?i)([?&;][^=&;#\s]*(?:pass|pwd|token|secret|auth|key|sig|user|login|account|cred)[^=&;#\s]*=)"
    r"(?!\*{3})[^&;#\s'\"]*"
)
_SECRET_NAME = re.compile(r"(?i)(key|secret|token|password|passwd)(_id)?$")
_MIN_LENGTH = 8
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s'\"<>]+", re.IGNORECASE)
_WEB = ("http", "https", "json", "jsons", "xml", "xmls", "form", "forms")  # with the names that Apprise gives them
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_\-:.=+]{16,}$")  # a random-looking path segment


def redact(text: str, *secrets: str) -> str:
    """Hide `secrets`, secret environment values, and logins and secret query values in addresses.

    >>> redact("rtsp://admin:p@ss@10.0.0.5/1?token=abc&fps=5 refused")
    'rtsp://***@10.0.0.5/1?token=***&fps=5 refused'
    """
    environ = [value for name, value in os.environ.items() if len(value) >= _MIN_LENGTH and _SECRET_NAME.search(name)]
    for secret in sorted(filter(None, (*secrets, *environ)), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def redact_webhooks(text: str, *secrets: str) -> str:
    """Redact the text and hide everything after the host of web addresses: a webhook's path is a secret.

    Addresses of other schemes lose fragments and path segments that look like tokens.

    >>> redact_webhooks("https://hooks.example:8443/services/T0/XyZ refused")
    'https://hooks.example:8443/*** refused'
    """
    return _ADDRESS.sub(lambda match: _hide_tokens(match[0]), redact(text, *secrets))


def is_redacted(url: str) -> bool:
    """Whether an address was redacted, so that it cannot be used."""
    return HIDDEN in url


def _hide_tokens(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://{HIDDEN}"
    if parts.scheme in _WEB:
        hidden = parts.path.strip("/") or parts.query or parts.fragment
        return f"{parts.scheme}://{parts.netloc}{f'/{HIDDEN}' if hidden else parts.path}"
    path = "/".join(HIDDEN if _TOKEN.match(part) else part for part in parts.path.split("/"))
    return SplitResult(parts.scheme, parts.netloc, path, parts.query, parts.fragment and HIDDEN).geturl()
