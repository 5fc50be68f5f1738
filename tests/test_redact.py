import pytest

from offnormal.redact import redact


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("rtsp://admin:pw@10.0.0.5:554/stream?channel=1", "rtsp://***@10.0.0.5:554/stream?channel=1"),
        ("rtsp://cam/s?user=a&password=b%40&x=1", "rtsp://cam/s?user=***&password=***&x=1"),
        ("https://hooks.slack.com/services/T0AB1/B0CD2/XyZ0123456789abcdefg", None),
        ("http://a:b@c@d/e", "http://***@d/e"),
        ("see 'http://u:p@h/x' and mqtts://u:p@h2.", "see 'http://***@h/x' and mqtts://***@h2."),
        ("recordings/day 07.mp4", "recordings/day 07.mp4"),
        ("http://[::1", "http://***"),
        ("http://[fe80::1]:80/a#frag", "http://[fe80::1]:80/a#***"),
    ],
)
def test_addresses(given, shown):
    found = redact(given)
    assert found == (shown or "https://hooks.slack.com/services/T0AB1/B0CD2/***")


def test_known_secrets_are_hidden_wherever_they_stand():
    assert redact("signed with s3cret, s3cret-longer", "s3cret", "s3cret-longer", "") == "signed with ***, ***"
