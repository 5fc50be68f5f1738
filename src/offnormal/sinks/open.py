"""Sinks from what a user says: `jsonl:events.jsonl` on the command line, a mapping in a YAML file."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from offnormal import registry
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError
from offnormal.redact import redact_hooks
from offnormal.sinks.base import Sink

SECRET_VARIABLE = "OFFNORMAL_WEBHOOK_SECRET"


def open_sinks(said: Iterable[str | Mapping[str, Any]], environment: Mapping[str, str] = os.environ) -> dict[str, Sink]:
    """Sinks by names that stay the same from one start to the next, in the order given.

    Raises ConfigError for kinds, options and targets that are not known, and for two sinks of one name.
    """
    found: dict[str, Sink] = {}
    for one in said:
        kind, options = _read(one)
        if kind == "webhook" and "secret" not in options and environment.get(SECRET_VARIABLE):
            options["secret"] = environment[SECRET_VARIABLE]
        made = registry.resolve("sinks", kind)
        try:
            checked = made.Options.model_validate(options)
        except ValidationError as error:
            hidden = [repr(options[key]) for key in ("secret", made.target_option) if key in options]
            raise ConfigError(
                f"sink {kind}: {redact_hooks(format_validation_error(error, made.Options), *hidden)}"
            ) from None
        sink: Sink = made(checked)
        name = checked.name or f"{kind}-{hashlib.sha256(sink.shown.encode()).hexdigest()[:8]}"
        if name in found:
            raise ConfigError(
                f"two sinks are called {name!r} ({sink.shown}): leave one out, or give them names of their own"
            )
        found[name] = sink
    return found


def _read(said: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Kind and options of `kind:target`, or of a mapping with a key `kind`."""
    known = registry.names("sinks")
    if isinstance(said, str):
        kind, colon, target = said.partition(":")
        if not colon or not target or kind not in known:
            near = difflib.get_close_matches(kind.lower(), known, n=1)
            hint = f"did you mean {near[0]}:...? " if near else ""
            raise ConfigError(
                f"sink {redact_hooks(said)!r}: {hint}expected KIND:TARGET such as jsonl:events.jsonl or "
                f"webhook:http://127.0.0.1:9000/hook; kinds are {', '.join(known)}"
            )
        return kind, {registry.resolve("sinks", kind).target_option: target}
    options = dict(said)
    kind = str(options.pop("kind", ""))
    if not kind:
        raise ConfigError(f"a sink with keys {', '.join(options)}: it needs `kind`, one of {', '.join(known)}")
    return kind, options
