"""Mutations of valid files: of bytes, and of values in JSON, YAML, and archives. Each is a function of a `Random`."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any

import yaml

_SIZES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**30, "", "x", "0", "\0",
    "é\udce9", "..", "/dev/zero", "../../etc/passwd", "1e999", "a" * 5000, [], {}, [[]], [None], [1, 2, 3, 4, 5],
    {"x": 1}, {"": {}}, [[0.1, 0.2], [0.9]], "2026-13-45", "5s", "-5s", "1/hour", "${HOME}", "${", "!!int x",
)  # fmt: skip


def mutate_bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Change a file in one to four places."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(_BYTE_MUTATIONS)(content, random, others)
    return bytes(content)


def _flip(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 3, 20)) if content else 0):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _flip_header(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    if content:
        content[random.randrange(min(len(content), 256))] = random.randrange(256)


def _truncate(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del content[random.randrange(len(content) + 1) :]


def _write_size(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    width = random.choice((1, 2, 4, 8))
    if len(content) >= width:
        start = random.randrange(min(len(content) - width + 1, random.choice((64, 512, 1 << 30))))
        value = random.choice(_SIZES) & ((1 << 8 * width) - 1)
        content[start : start + width] = value.to_bytes(width, random.choice(("little", "big")))


def _splice(content: bytearray, random: Random, others: Sequence[bytes]) -> None:
    other = random.choice(others)
    start, stop = sorted(random.randrange(len(other) + 1) for _ in range(2))
    at = random.randrange(len(content) + 1)
    content[at : at + random.choice((0, stop - start))] = other[start:stop]


def _repeat(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    start = random.randrange(len(content) + 1)
    piece = content[start : start + random.choice((1, 4, 16, 256))]
    content[start:start] = piece * random.choice((1, 2, 50))


def _delete(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    start = random.randrange(len(content) + 1)
    del content[start : start + random.choice((1, 2, 8, 100))]


_BYTE_MUTATIONS: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    _flip, _flip, _flip_header, _truncate, _write_size, _write_size, _splice, _repeat, _delete,
)  # fmt: skip


def mutate_values(values: Any, random: Random) -> Any:
    """Change one or two values or keys of plain data; returns a copy."""
    copy = _copy(values)
    for _ in range(random.choice((1, 1, 2))):
        places = list(_places(copy))
        if not places:
            return _copy(random.choice(ODD_VALUES))
        container, key = random.choice(places)
        change = random.randrange(6)
        if change == 0:
            del container[key]
        elif change == 1 and isinstance(container, dict):
            container[random.choice(("x", "", str(key).upper(), str(key) + "_"))] = container.pop(key)
        elif change == 2:
            other, other_key = random.choice(places)
            container[key] = _copy(other[other_key]) if other_key in _keys(other) else None
        elif change == 3 and isinstance(container, list):
            container[:] = container * random.choice((0, 2, 20))
        elif change == 4 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
            container[key] = container[key] * random.choice((-1, 0, 0.5, 1e-9, 1e9, 1e300))
        else:
            container[key] = _copy(random.choice(ODD_VALUES))
    return copy


def _copy(values: Any) -> Any:
    return json.loads(json.dumps(values))


def _keys(container: Any) -> Sequence[Any]:
    return list(container) if isinstance(container, dict) else range(len(container))


def _places(values: Any) -> Any:
    if isinstance(values, dict | list):
        for key in _keys(values):
            yield values, key
            yield from _places(values[key])


def mutate_json(text: str, random: Random) -> bytes:
    """Change the values of a JSON document."""
    return json.dumps(mutate_values(json.loads(text), random)).encode()


_FastDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_parse_yaml = cache(yaml.safe_load)


def mutate_yaml(text: str, random: Random) -> bytes:
    """Change the values of a YAML document, and sometimes its tags and aliases."""
    changed = mutate_values(_parse_yaml(text), random)
    try:
        dumped = yaml.dump(changed, Dumper=_FastDumper, sort_keys=False)
    except UnicodeEncodeError:  # names that are not Unicode
        dumped = yaml.safe_dump(changed, sort_keys=False)
    trick = random.randrange(12)
    if trick == 0:
        dumped = dumped.replace(": ", random.choice((": !!int ", ": !!binary ", ": !!timestamp ", ": &a ", ": *a ")), 1)
    elif trick == 1:
        dumped = dumped.replace("\n", random.choice(("\n\t", "\n---\n", "\n- ", "\n<<: ", "\n? ")), 1)
    elif trick == 2:
        dumped += "deep: " + "[" * random.choice((50, 2000, 50_000))
    return dumped.encode("utf-8", "surrogateescape")


def mutate_lines(data: bytes, random: Random) -> bytes:
    """Change the values of one line of JSON, or one cell of a table; or lose, repeat, or cut a line."""
    lines = data.decode().splitlines(keepends=True)
    number = random.randrange(len(lines))
    change = random.randrange(6)
    if change == 0:
        lines[number : number + 1] = lines[number : number + 1] * random.choice((0, 2, 3))
    elif change == 1:
        lines[number] = lines[number][: random.randrange(len(lines[number]) + 1)]
    elif lines[number].startswith(("{", "[")):
        lines[number] = mutate_json(lines[number], random).decode() + "\n"
    else:
        cells = re.split(r"([,;\t\n])", lines[number])
        values = (*map(str, ODD_VALUES), *cells, *re.split(r"[,;\t\n]", random.choice(lines)))
        cells[2 * random.randrange((len(cells) + 1) // 2)] = random.choice(values)
        lines[number] = "".join(cells)
    return "".join(lines).encode("utf-8", "surrogateescape")


def mutate_database(data: bytes, random: Random) -> bytes:
    """Change one to three cells of an SQLite file, most of them what JSON in them says."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(b"".join((data[:18], b"\1\1", data[20:])))  # memory has no write-ahead log
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(random.choice((1, 1, 3))):
            table = random.choice(tables)
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            rows = database.execute(f"SELECT rowid, * FROM {table}").fetchall()
            if not rows:
                continue
            row, column = random.choice(rows), random.randrange(len(columns))
            cell = row[1 + column]
            if isinstance(cell, str) and cell.startswith('{"') and random.random() < 0.8:
                try:
                    value = mutate_json(cell, random).decode()
                except json.JSONDecodeError:  # an earlier change shortened it
                    value = cell[:-1]
            else:
                value = random.choice((*_CELLS, cell and str(cell)[:-1], random.choice(rows)[1 + column]))
            with contextlib.suppress(sqlite3.Error):  # a rule of the table
                database.execute(f"UPDATE {table} SET {columns[column]} = ? WHERE rowid = ?", (value, row[0]))
        if random.random() < 0.1:
            database.execute(random.choice(_STATEMENTS))
        database.commit()
        changed = database.serialize()
    return changed[:18] + data[18:20] + changed[20:]


_CELLS = (None, 0, -1, 2**62, 1.5, "", "x", "\0", "é", b"", b"\xff\xfe", b"{}", "[]", "{", "closed", "[" * 5000)
_STATEMENTS = (
    "DROP TABLE waiting", "DROP TABLE held", "DROP INDEX in_order", "PRAGMA user_version = 7",
    "ALTER TABLE waiting RENAME COLUMN message TO text", "ALTER TABLE held ADD COLUMN more TEXT",
    "DROP TABLE dropped", "DROP TABLE damaged", "CREATE TABLE x (y)", "INSERT INTO dropped VALUES ('webhook', 'x')",
)  # fmt: skip


def mutate_archive(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Change the members of a zip archive rather than the archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    name = random.choice(list(members))
    members[name] = mutate_bytes(members[name], random, list(members.values()))
    if random.random() < 0.2:
        members[random.choice(("", "x", "x.npy", "../x.npy", "é.npy", name + ".npy"))] = members.pop(name)
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as stored:
            for key, content in members.items():
                stored.writestr(key or "x", content)
        archive = file.getvalue()
    return mutate_bytes(archive, random, others) if random.random() < 0.2 else archive


def mutate_file(name: str, data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Change a file by its type: two times of three its values where it has some, else its bytes."""
    if random.random() < 2 / 3:
        if name.endswith(".json"):
            return mutate_json(data.decode(), random)
        if name.endswith(".yaml"):
            return mutate_yaml(data.decode(), random)
        if name.endswith((".jsonl", ".csv")):
            return mutate_lines(data, random)
        if name.endswith(".db"):
            return mutate_database(data, random)
        if name.endswith(".npz"):
            return mutate_archive(data, random, others)
    return mutate_bytes(data, random, others)
