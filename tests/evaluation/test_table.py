import numpy as np
import pytest

from offnormal.errors import DataError
from offnormal.evaluation.table import join_tables
from offnormal.types import Unit
from tests.evaluations import Scored, table_of


def street():
    return table_of(
        Unit.FRAME,
        [
            Scored(name="a", scores=np.array([1.5, np.nan, 2.5]), labels=np.array([0, 0, 1]), fps=10, group="north"),
            Scored(name="b", scores=np.array([0.125]), reasons=((0, 1, "held"),)),
        ],
    )


def test_joined_tables_have_all_rows_and_nan_for_missing_terms():
    first = table_of(Unit.IMAGE, [Scored(name="a", scores=np.array([1.0]))], terms={"latent": np.array([5.0])})
    second = table_of(Unit.IMAGE, [Scored(name="b", scores=np.array([2.0]))])
    joined = join_tables([first, second])
    assert [item.rows for item in joined.items] == [slice(0, 1), slice(1, 2)]
    np.testing.assert_array_equal(joined.terms["latent"], [5.0, np.nan])
    moved = join_tables([street(), street().__class__(**{**_fields(street()), "items": street().items})])
    assert moved.reason == ((3, 4, "held"), (7, 8, "held"))
    with pytest.raises(DataError, match="2 units"):
        join_tables([first, street()])


def _fields(table):
    return {name: getattr(table, name) for name in table.__dataclass_fields__}
