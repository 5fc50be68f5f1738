import doctest

from offnormal import errors


def test_doctests():
    result = doctest.testmod(errors)
    assert result.failed == 0 and result.attempted >= 4
