from importlib.metadata import EntryPoint

import pytest

from offnormal import registry
from offnormal.data.layouts.mvtec import MvtecLayout
from offnormal.errors import ConfigError


@pytest.fixture
def plug_ins(monkeypatch):
    """Entry points of other packages, as a function of (group, name, target)."""
    points = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    registry._entries.cache_clear()
    yield lambda group, name, value: points.append(EntryPoint(name, value, group))
    registry._entries.cache_clear()


@pytest.mark.parametrize("kind", ["detectors", "layouts"])
def test_every_entry_has_a_summary_and_a_class_that_can_be_imported(kind):
    known = registry.names(kind)
    assert known
    assert all(known.values())
    for name in known:
        assert isinstance(registry.resolve(kind, name), type)


def test_resolve_gives_the_class():
    assert registry.resolve("layouts", "mvtec") is MvtecLayout


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("detectors", "padin", "no detector is called 'padin': did you mean 'padim'"),
        ("detectors", "PaDiM", "did you mean 'padim'"),
        ("layouts", "mvtek", "no layout is called 'mvtek': did you mean 'mvtec'"),
        ("layouts", "qqq", "'qqq': known are mvtec, ganomaly, ucsd, "),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(kind, name, hint):
    with pytest.raises(ConfigError, match=hint):
        registry.resolve(kind, name)


def test_other_packages_add_their_own(plug_ins):
    plug_ins("offnormal.layouts", "mine", "offnormal.data.layouts.mvtec:MvtecLayout")
    assert "plug-in" in registry.names("layouts")["mine"]
    assert registry.resolve("layouts", "mine") is MvtecLayout
    assert "mine" not in registry.names("detectors")


def test_built_in_names_cannot_be_taken_over(plug_ins):
    plug_ins("offnormal.layouts", "mvtec", "somewhere:Else")
    assert registry.resolve("layouts", "mvtec") is MvtecLayout
