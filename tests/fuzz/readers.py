"""Everything that is fuzzed, by name."""

from __future__ import annotations

from tests.fuzz.labels import Labels, Manifests
from tests.fuzz.pictures import Images, Masks, Videos
from tests.fuzz.reader import Reader
from tests.fuzz.results import Bundles, Tables
from tests.fuzz.settings import Arguments, Configs, Events
from tests.fuzz.state import Budgets, Logs, Spools, States

READERS: dict[str, type[Reader]] = {
    "images": Images,
    "masks": Masks,
    "videos": Videos,
    "labels": Labels,
    "manifests": Manifests,
    "bundles": Bundles,
    "configs": Configs,
    "events": Events,
    "arguments": Arguments,
    "tables": Tables,
    "budgets": Budgets,
    "states": States,
    "spools": Spools,
    "logs": Logs,
}
