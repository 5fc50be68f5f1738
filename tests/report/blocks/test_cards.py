import pytest

from offnormal.report.cards import fitted_on


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"images": 199}, "199 normal pictures of yard, videos layout"),
        ({"videos": 3, "images": 1200}, "1,200 normal frames in 3 videos of yard, videos layout"),
        ({"videos": 1, "images": 9, "things": "clips"}, "9 normal clips in 1 video of yard, videos layout"),
        ({"videos": 21, "images": 21, "things": "clips"}, "21 normal clips of yard, videos layout"),
        ({"videos": 2}, "2 normal videos of yard, videos layout"),
        ({}, "yard, videos layout"),
    ],
)
def test_what_was_learnt_from(data, said):
    facts = {fact.name: fact.value for fact in fitted_on({"data": {"name": "yard", "layout": "videos", **data}})}
    assert facts["fitted on"] == said


def test_a_card_without_data_says_nothing():
    assert fitted_on({}) == []
