import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```\n", re.DOTALL)


def test_the_page_quotes_every_file_of_the_example():
    quoted = dict(QUOTED.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8")))
    example = ROOT / "examples/plugin"
    files = [path for path in example.rglob("*") if path.suffix in (".py", ".toml") and path.name != "__init__.py"]
    assert quoted == {path.relative_to(example).as_posix(): path.read_text(encoding="utf-8") for path in files}
