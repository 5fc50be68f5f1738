import os
from pathlib import Path

import pytest

from offnormal.input_files import check_regular, load_json, load_yaml, open_regular, read_text


@pytest.mark.parametrize("kind", ["a folder", "a named pipe", "a device", "a socket"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path = Path("/dev/zero")
    else:
        import socket

        endpoint = socket.socket(socket.AF_UNIX)
        endpoint.bind(os.path.relpath(path))
        with pytest.raises(OSError):
            open_regular(path)
    if kind != "a socket":
        with pytest.raises(OSError, match=f"is {kind}; expected a regular file"):
            open_regular(path)
    with pytest.raises(OSError, match=f"is {kind}; expected a regular file"):
        check_regular(path)


def test_a_link_to_a_regular_file_is_one(tmp_path):
    (tmp_path / "a").write_text("héllo", encoding="utf-8")
    (tmp_path / "b").symlink_to("a")
    check_regular(tmp_path / "b")
    assert read_text(tmp_path / "b") == "héllo"
    with open_regular(tmp_path / "b") as file:
        assert file.read() == "héllo".encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "an alias inside what it stands for"),
        ("a: 1\nb: 2\na: 3", "the key 'a' appears twice; remove one\n.*line 3"),
        ("[" * 101, "more than 100 levels"),
        ("a: " + "[" * 100_000, "more than 100 levels"),
        ("- !!int x", "a value that does not fit its tag before line"),
        ("!!int ''", "does not fit its tag"),
        ("!!bool maybe", "does not fit its tag"),
        ("!!timestamp x", "does not fit its tag"),
        ("2001-13-45", "does not fit its tag"),
        ("1" * 5000, "does not fit its tag"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("{[a]: 2}", "unhashable key"),
        ("a: 1\n\tb: 2", "line 2"),
        ("\0", "unacceptable character"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("x" * (9 << 20), "expected at most 4,194,304"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        load_yaml(text)


def test_yaml_with_aliases_and_merges_is_read():
    text = "base: &base {a: 1, b: 2}\nmore:\n  <<: *base\n  b: 3\nlist: [*base, *base]"
    base = {"a": 1, "b": 2}
    assert load_yaml(text) == {"base": base, "more": {"a": 1, "b": 3}, "list": [base, base]}
    assert load_yaml("") is None


def test_an_alias_bomb_is_refused():
    levels = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(12)]
    with pytest.raises(ValueError, match="expands to more than 1,000,000 values"):
        load_yaml("\n".join(levels))


def test_json_nested_too_deeply_is_invalid():
    assert load_json('{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json("[" * 200_000)
