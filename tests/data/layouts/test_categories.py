import pytest

from offnormal.data.layouts.categories import select_category
from offnormal.errors import DataError


def test_a_category_or_the_root_is_selected(tmp_path):
    assert select_category(tmp_path, "a", ["a", "b"]) == (tmp_path / "a", "a")
    assert select_category(tmp_path, None, []) == (tmp_path, None)
    assert select_category(tmp_path, tmp_path.name, []) == (tmp_path, None)


@pytest.mark.parametrize(
    ("category", "available", "message"),
    [
        (None, ["a", "b"], r"2 categories \(a, b\); choose one with --category"),
        ("c", ["a", "b"], "no category 'c'; available: a, b"),
        ("c", [], "no category 'c'; available: none"),
    ],
)
def test_errors_list_the_available_categories(tmp_path, category, available, message):
    with pytest.raises(DataError, match=message):
        select_category(tmp_path, category, available)
