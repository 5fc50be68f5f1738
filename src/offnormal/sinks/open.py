"""Open sinks from settings: `jsonl:events.jsonl`, or a mapping from a YAML file."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from offnormal import registry
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError
from offnormal.redact import redact, redact_webhooks
from offnormal.sinks.base import SECRET_VARIABLE, Sink


def open_sinks(
    settings: Iterable[str | Mapping[str, object]], environment: Mapping[str, str] = os.environ
) -> dict[str, Sink]:
    """Sinks in the given order, by names that stay the same after a restart.

    Raises ConfigError for unknown kinds, options, and targets, and for two sinks with the same name.
    """
    sinks: dict[str, Sink] = {}
    for setting in settings:
        kind, options = _parse(setting)
        if kind == "webhook" and "secret" not in options and environment.get(SECRET_VARIABLE):
            options["secret"] = environment[SECRET_VARIABLE]
        sink_class = registry.resolve("sinks", kind)
        try:
            checked = sink_class.Options.model_validate(options)
        except ValidationError as error:
            values = [repr(options[key]) for key in ("secret", sink_class.target_option) if key in options]
            hidden = [*values, *map(redact, values)]  # the message may have either form
            raise ConfigError(
                f"sink {kind}: {redact_webhooks(format_validation_error(error, sink_class.Options), *hidden)}"
            ) from None
        with registry.plugin_errors("sinks", kind, "its constructor"):
            sink: Sink = sink_class(checked)
        name = checked.name or f"{kind}-{hashlib.sha256(sink.identity.encode()).hexdigest()[:8]}"
        if name in sinks:
            raise ConfigError(
                f"two sinks are named {name!r} ({sink.description}): remove one, or set a `name` for each"
            )
        sinks[name] = sink
    return sinks


def _parse(setting: str | Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Kind and options from `kind:target`, or from a mapping with the key `kind`."""
    kinds = registry.names("sinks")
    if isinstance(setting, str):
        kind, colon, target = setting.partition(":")
        if not colon or not target or kind not in kinds:
            near = difflib.get_close_matches(kind.lower(), kinds, n=1)
            hint = f"did you mean {near[0]}:...? " if near else ""
            raise ConfigError(
                f"sink {redact_webhooks(kind + colon)!r}: {hint}expected KIND:TARGET such as jsonl:events.jsonl or "
                f"webhook:http://127.0.0.1:9000/hook; kinds are {', '.join(kinds)}"
            )
        return kind, {registry.resolve("sinks", kind).target_option: target}
    options = dict(setting)
    kind = str(options.pop("kind", ""))
    if not kind:
        raise ConfigError(
            f"sink with keys {', '.join(options)}: `kind` is missing; set it to one of {', '.join(kinds)}"
        )
    return kind, options
