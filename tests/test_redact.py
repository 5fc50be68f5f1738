"""Secrets never appear in anything that is written or displayed."""

import pytest

from offnormal.redact import is_redacted, redact, redact_webhooks


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://admin:pw@10.0.0.5:554/stream?channel=1", "rtsp://***@10.0.0.5:554/stream?channel=1"),
        ("rtsp://cam/s?user=a&password=b%40&x=1", "rtsp://cam/s?user=***&password=***&x=1"),
        ("http://a:b@c@d/e", "http://***@d/e"),
        ("see 'http://u:p@h/x' and mqtts://u:p@h2.", "see 'http://***@h/x' and mqtts://***@h2."),
        ("failed: https://token@host/x and ftp://u:v@h", "failed: https://***@host/x and ftp://***@h"),
        ("sftp://me:p@ss:word@host:22/x", "sftp://***@host:22/x"),
        ("https://h/x?X-Amz-Signature=abc&n=1", "https://h/x?X-Amz-Signature=***&n=1"),
        ("https://h/x?sig=a%2Fb&api_key=1", "https://h/x?sig=***&api_key=***"),
        ("s3://bucket/a@b/20261121-105426-padim-bottle", "s3://bucket/a@b/20261121-105426-padim-bottle"),
        ("recordings/day 07.mp4, mail me@home.org", "recordings/day 07.mp4, mail me@home.org"),
    ],
)
def test_only_logins_and_tokens_are_hidden(text, redacted):
    assert redact(text) == redacted
    assert redact(redacted) == redacted
    assert is_redacted(redacted) == ("***" in redacted)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://hooks.slack.com/services/T0AB1/B0CD2/XyZ0123456789abcdefg", "https://hooks.slack.com/***"),
        ("no answer of https://discord.com/api/webhooks/12/ab, yet", "no answer of https://discord.com/*** yet"),
        ("http://u:p@h:8080/hook?token=1", "http://***@h:8080/***"),
        ("HTTP://h/?plain=1 http://h/ http://h", "http://h/*** http://h/ http://h"),
        ("http://[::1", "http://***"),
        ("http://[fe80::1]:80/a#frag", "http://[fe80::1]:80/***"),
        ("tgram://123456789:ABCdefGHIjkl/chat#frag", "tgram://123456789:ABCdefGHIjkl/chat#***"),
        ("mqtt://host/plain/XyZ0123456789abcdefg", "mqtt://host/plain/***"),
        ("alert jsons://host.example/T0/SECRET", "alert jsons://host.example/***"),
    ],
)
def test_the_path_of_a_webhook_is_hidden(text, redacted):
    assert redact_webhooks(text) == redacted


def test_known_secrets_are_hidden_everywhere():
    assert redact("signed with s3cret, s3cret-longer", "s3cret", "s3cret-longer", "") == "signed with ***, ***"


def test_secrets_in_the_environment_are_hidden_everywhere(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789")
    monkeypatch.setenv("HOMELY", "somewhere")
    text = redact("denied: key 0123456789abcdef of AKIA0123456789 in somewhere")
    assert text == "denied: key *** of *** in somewhere"
