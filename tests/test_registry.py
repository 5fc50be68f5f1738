import logging
import sys

import pytest

from offnormal import registry
from offnormal.cli.main import run
from offnormal.data.layouts.mvtec import MvtecLayout
from offnormal.data.open import open_datasets
from offnormal.errors import ConfigError, OffnormalError, PluginError
from offnormal.sinks.open import open_sinks
from offnormal.testing.scenes import write_parts
from tests.data.tree import draw

LAYOUT = "offnormal.data.layouts.mvtec:MvtecLayout"


def clear_caches():
    """Clear the entries that this process has cached, and the commands built from them."""
    for cached in (registry._entries, registry._warn_once):
        cached.cache_clear()
    for command in ("fit", "import_"):
        sys.modules.pop(f"offnormal.cli.{command}", None)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with entry points of one group on the path of this process."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    clear_caches()

    def write(distribution, group, **points):
        folder = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"[offnormal.{group}]", *(f"{name} = {target}" for name, target in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        return site

    yield write
    clear_caches()


@pytest.mark.parametrize("kind", ["detectors", "layouts"])
def test_every_entry_has_a_summary_and_a_class_that_can_be_imported(kind):
    summaries = registry.names(kind)
    assert summaries
    assert all(summaries.values())
    for name in summaries:
        assert isinstance(registry.resolve(kind, name), type)


def test_resolve_returns_the_class():
    assert registry.resolve("layouts", "mvtec") is MvtecLayout


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("detectors", "padin", "unknown detector 'padin': did you mean 'padim'"),
        ("detectors", "PaDiM", "did you mean 'padim'"),
        ("layouts", "mvtek", "unknown layout 'mvtek': did you mean 'mvtec'"),
        ("layouts", "qqq", "'qqq': expected one of mvtec, ganomaly, "),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest_one(kind, name, hint):
    with pytest.raises(ConfigError, match=hint):
        registry.resolve(kind, name)


def test_other_packages_register_their_own_classes(install):
    install("acme-tools", "layouts", mine=LAYOUT)
    assert registry.names("layouts")["mine"] == "plug-in of acme-tools 1.2"
    assert registry.resolve("layouts", "mine") is MvtecLayout
    assert registry.resolve_all("layouts")["mine"] is MvtecLayout
    assert "mine" not in registry.names("detectors")


def test_names_are_listed_without_importing_plug_ins(install, capsys):
    site = install("acme", "detectors", fragile="acme_fragile:Fragile")
    (site / "acme_fragile.py").write_text("raise RuntimeError('imported')")
    assert "fragile" in registry.names("detectors")
    for words in (["--help"], ["fit", "--help"], ["list", "detectors"]):
        assert run(words) == 0
    output = capsys.readouterr()
    assert "plug-in of acme 1.2" in output.out and not output.err
    assert "acme_fragile" not in sys.modules


BROKEN = {  # target -> message
    "acme_missing:Layout": "ModuleNotFoundError: No module named 'acme_missing'",
    "acme_raises:Layout": "ZeroDivisionError: division by zero",
    "acme_syntax:Layout": "SyntaxError",
    "offnormal.types:Layout": "AttributeError: module 'offnormal.types' has no attribute 'Layout'",
    "offnormal.types:NORMAL": "0, expected a class",
    "offnormal.types": "expected a class",
    "offnormal.types:Item": "the class Item without tree, source, license, recognizes, categories, read",
    "no target": "AttributeError",
}


@pytest.mark.parametrize(("target", "fault"), BROKEN.items())
def test_a_broken_layout_is_one_warning_and_the_others_work(target, fault, install, tmp_path, capsys, caplog):
    site = install("acme-tools", "layouts", broken=target)
    (site / "acme_raises.py").write_text("1 / 0")
    (site / "acme_syntax.py").write_text("this is no Python")
    root = draw(tmp_path / "set", "train/good/1.png", "test/good/1.png")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert open_datasets(root)[0].layout == "mvtec"
            assert run(["list", "layouts"]) == 0
    assert "mvtec" in capsys.readouterr().out
    (record,) = caplog.records
    for text in ("the layout 'broken' of acme-tools 1.2 is broken", f"broken = {target}", fault, "it is skipped"):
        assert text in record.message
    with pytest.raises(PluginError, match=r"the layout 'broken' of acme-tools 1\.2 is broken"):
        open_datasets(root, layout="broken")
    assert run(["list", "layouts", "broken"]) == 1
    assert "uninstall acme-tools" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "target", "fault"),
    [
        ("sinks", LAYOUT, "the class MvtecLayout, expected a subclass of offnormal.sinks.base.Sink"),
        ("sinks", "offnormal.sinks.base:Sink", "the class Sink without Options, target_option, deliver, description"),
        ("detectors", LAYOUT, "expected a subclass of offnormal.detectors.base.Detector"),
        ("detectors", "offnormal.detectors.padim:Padim", "the class Padim with the name 'padim', expected 'broken'"),
        ("backbones", LAYOUT, "expected a subclass of offnormal.backbones.video.base.VideoBackbone"),
    ],
)
def test_a_class_that_breaks_its_contract_is_broken(kind, target, fault, install):
    install("acme", kind, broken=target)
    with pytest.raises(OffnormalError, match=r"of acme 1\.2 is broken") as caught:
        registry.resolve(kind, "broken")
    assert fault in str(caught.value)
    assert "broken" not in registry.resolve_all(kind)


def test_a_layout_that_fails_on_a_folder_is_one_warning_and_the_others_work(install, tmp_path, caplog):
    site = install("acme-tools", "layouts", fragile="acme_fragile_layout:Fragile")
    (site / "acme_fragile_layout.py").write_text(
        "from offnormal.data.layouts.mvtec import MvtecLayout\n"
        "class Fragile(MvtecLayout):\n"
        "    @staticmethod\n"
        "    def recognizes(root):\n        raise KeyError('shape')\n"
    )
    root = draw(tmp_path / "set", "normal/1.png", "normal/2.png")
    for _ in range(2):
        assert open_datasets(root / "normal")[0].layout == "folder"
    (record,) = caplog.records
    for text in (
        "the layout 'fragile' of acme-tools 1.2 is broken",
        "`recognizes` raises KeyError: 'shape'",
        "skipped",
    ):
        assert text in record.message


def test_an_error_in_the_constructor_of_a_plug_in_names_its_package(install, tmp_path, capsys):
    install("acme", "detectors", fragile="acme_fragile_classes:Fragile")
    site = install("acme-sinks", "sinks", siren="acme_fragile_classes:Siren")
    (site / "acme_fragile_classes.py").write_text(
        "from offnormal.detectors.baselines.pixel_gaussian import PixelGaussian\n"
        "from offnormal.sinks.appended_file import CsvSink\n"
        "class Fragile(PixelGaussian):\n"
        "    name = 'fragile'\n"
        "    def __init__(self, options, spec):\n        raise TypeError('no GPU')\n"
        "class Siren(CsvSink):\n"
        "    def __init__(self, options):\n        raise RuntimeError('no port')\n"
    )
    parts = write_parts(tmp_path / "parts", train=2, good=0, bad=0, size=16)
    assert run(["fit", "fragile", str(parts), "--size", "16", "--out", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert "the detector 'fragile' of acme 1.2 is broken: its constructor raises TypeError: no GPU" in error
    with pytest.raises(PluginError, match=r"of acme-sinks 1\.2 is broken: its constructor raises RuntimeError"):
        open_sinks(["siren:x.csv"])


def test_detector_options_without_a_default_are_a_fault(install, capsys):
    site = install("acme", "detectors", demanding="acme_demanding:Demanding")
    (site / "acme_demanding.py").write_text(
        "from offnormal.detectors.baselines.pixel_gaussian import PixelGaussian, PixelGaussianOptions\n"
        "class Options(PixelGaussianOptions):\n    width: int\n"
        "class Demanding(PixelGaussian):\n    name, Options = 'demanding', Options\n"
    )
    assert run(["fit", "demanding", "--help"]) == 1
    assert "the class Demanding with options that have no default: width" in capsys.readouterr().err


def test_commands_on_all_entries_work_beside_broken_ones(install, capsys):
    for kind in ("backbones", "sinks"):
        install(f"acme-{kind}", kind, broken="acme_missing:Thing")
    assert run(["list", "sinks"]) == 0
    assert "jsonl" in capsys.readouterr().out
    assert run(["list", "backbones", "--input", "4x32x32", "--search", "bro"]) == 0
    assert "acme-backbones 1.2 is broken" in capsys.readouterr().out
    assert run(["fit", "memae", "--encoder", "resnet"]) == 2
    assert "unknown encoder 'resnet'" in capsys.readouterr().err


def test_built_in_names_cannot_be_replaced(install, caplog):
    install("acme", "layouts", mvtec="acme:Layout")
    for _ in range(2):
        assert registry.resolve("layouts", "mvtec") is MvtecLayout
    (record,) = caplog.records
    assert record.message == ("offnormal and acme 1.2 both register the layout 'mvtec'; that of offnormal is used")


def test_the_first_of_two_packages_by_name_wins(install, caplog):
    install("Zebra", "layouts", mine="zebra:Layout")
    install("acme", "layouts", mine=LAYOUT)
    assert registry.resolve("layouts", "mine") is MvtecLayout
    (record,) = caplog.records
    assert record.message == "acme 1.2 and Zebra 1.2 both register the layout 'mine'; that of acme 1.2 is used"


def test_a_package_without_metadata_is_still_reported(install):
    site = install("acme", "layouts", broken="acme:Layout")
    (site / "acme-1.2.dist-info/METADATA").unlink()
    with pytest.raises(PluginError, match="of an unnamed package"):
        registry.resolve("layouts", "broken")


@pytest.mark.parametrize("content", [b"[offnormal.layouts]\nno equals sign\n", b"\xff\xfe"])
def test_unreadable_entry_points_are_one_warning(content, install, caplog):
    site = install("acme", "layouts", broken="acme:Layout")
    install("other", "layouts", mine=LAYOUT)
    (site / "acme-1.2.dist-info/entry_points.txt").write_bytes(content)
    for kind in ("layouts", "sinks"):
        assert "broken" not in registry.names(kind)
    assert "mine" in registry.names("layouts")
    (record,) = caplog.records
    assert "the entry_points.txt of acme 1.2 cannot be read" in record.message
