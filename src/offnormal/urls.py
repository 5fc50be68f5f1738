"""Addresses and messages without the secrets that they may carry."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
_LOGIN = re.compile(r"(?<=://)[^/\s'\"]*@")  # up to the last @ before a slash
_QUERY = re.compile(
    r"(?i)([?&;](?:[\w-]*(?:key|secret|token|password|passwd|signature|credential)[\w-]*|sig|pwd)=)[^&;#\s'\"]+"
)
_SECRET_NAME = re.compile(r"(?i)(key|secret|token|password|passwd)(_id)?$")
_SHORTEST = 8  # characters of a value of the environment that is looked for


def redacted(text: str) -> str:
    """The text without logins in addresses, secrets in their queries, and values of the environment that are secret.

    >>> redacted("sftp://me:word@host/runs?token=abc")
    'sftp://***@host/runs?token=***'
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name):
            text = text.replace(value, HIDDEN)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def without_login(url: str) -> bool:
    """Whether an address was stored by `redacted` and lacks what it takes to use it."""
    return HIDDEN in url
