"""Secrets do not get into anything that is written or shown."""

from __future__ import annotations

import pytest

from offnormal.urls import redacted, without_login


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("sftp://me:p@ss:word@host:22/x", "sftp://***@host:22/x"),
        ("failed: https://token@host/x and ftp://u:v@h", "failed: https://***@host/x and ftp://***@h"),
        ("https://h/x?X-Amz-Signature=abc&n=1", "https://h/x?X-Amz-Signature=***&n=1"),
        ("https://h/x?sig=a%2Fb&api_key=1", "https://h/x?sig=***&api_key=***"),
        ("mail me@home.org", "mail me@home.org"),
    ],
)
def test_logins_and_signatures_are_hidden(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown
    assert without_login(shown) == ("***" in shown)


def test_secrets_of_the_environment_are_hidden_wherever_they_turn_up(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789")
    monkeypatch.setenv("HOMELY", "somewhere")
    found = redacted("denied: key 0123456789abcdef of AKIA0123456789 in somewhere")
    assert found == "denied: key *** of *** in somewhere"
