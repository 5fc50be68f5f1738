"""Reads files that users name: only regular files, and YAML and JSON of bounded size and depth."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_MAX_DEPTH = 100  # of lists and mappings inside each other
_MAX_VALUES = 1_000_000  # in a YAML document, aliases replaced by what they stand for
_MAX_YAML_CHARACTERS = 4 << 20
_INVALID = (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError, RecursionError)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read bytes; OSError, with the reason in `strerror`, for anything else.

    A named pipe or a device would block, or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path) -> None:
    """Raise OSError, with the reason in `strerror`, unless the path is a regular file or a link to one."""
    _require_regular(path.stat().st_mode, path)


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no file")
        raise OSError(errno.EINVAL, f"is {kind}; expected a regular file", str(path))


def read_text(path: Path) -> str:
    """Return the UTF-8 text of a regular file; OSError or UnicodeDecodeError (a ValueError)."""
    with open_regular(path) as file:
        return file.read().decode("utf-8")


def load_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; ValueError for invalid JSON, including values nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {_MAX_DEPTH} levels") from None


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document; ValueError, with the line where one is known, for an invalid one.

    Builds only plain values. A document that expands to very many values, is nested too deeply, or has the same key
    twice in a mapping is invalid.
    """
    if len(text) > _MAX_YAML_CHARACTERS:
        raise ValueError(f"{len(text):,} characters; expected at most {_MAX_YAML_CHARACTERS:,}")
    loader: _BoundedLoader | None = None
    try:
        loader = _BoundedLoader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace('"<unicode string>", ', "")) from None
    except _INVALID as error:  # of values that do not fit their tag, such as `!!int x`
        where = "" if loader is None else f" before line {loader.line + 1}"
        raise ValueError(f"a value that does not fit its tag{where} ({error})") from None
    finally:
        if loader is not None:
            loader.dispose()


class _BoundedLoader(yaml.SafeLoader):
    """Counts values as if each alias were a copy, because whatever reads the values walks through all of them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # values in a complete node, by its id; nodes live as long as the loader
        self._nodes: list[Node] = []

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        """Scan `[` or `{`; the time for the next token grows with their number."""
        if self.flow_level >= _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token_class)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose a node within the limits; YAMLError beyond them."""
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
            self._nodes.append(node)
            if isinstance(node, MappingNode):
                _require_distinct_keys(node)
        elif id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias inside what it stands for", problem_mark=mark)
        if self._sizes[id(node)] > _MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"expands to more than {_MAX_VALUES:,} values", problem_mark=mark)
        return node


def _children(node: Node) -> Iterable[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, SequenceNode) else ()


def _require_distinct_keys(node: MappingNode) -> None:
    keys: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} appears twice; remove one", problem_mark=key.start_mark
                )
            keys.add((key.tag, key.value))
