import pytest

from offnormal.data.layouts.categories import select_category
from offnormal.errors import DataError


def test_one_of_several_or_the_root_itself(tmp_path):
    assert select_category(tmp_path, "a", ["a", "b"]) == (tmp_path / "a", "a")
    assert select_category(tmp_path, None, []) == (tmp_path, None)
    assert select_category(tmp_path, tmp_path.name, []) == (tmp_path, None)


@pytest.mark.parametrize(
    ("category", "known", "message"),
    [
        (None, ["a", "b"], r"2 categories \(a, b\); choose one with --category"),
        ("c", ["a", "b"], "no category 'c'; available: a, b"),
        ("c", [], "no category 'c'; available: none"),
    ],
)
def test_what_to_choose_is_said(tmp_path, category, known, message):
    with pytest.raises(DataError, match=message):
        select_category(tmp_path, category, known)
