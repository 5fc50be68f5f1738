import errno
import logging

from offnormal.repeated_errors import RepeatedErrors


def test_an_error_is_logged_once_and_counted_until_ten_minutes_have_passed(caplog):
    now = [0.0]
    errors = RepeatedErrors(logging.getLogger("x"), now_s=lambda: now[0])
    for number in range(1000):
        errors.report("yard", "not written", OSError(errno.EMFILE, f"Too many open files: {number}"))
        errors.report("gate", "not written", OSError(errno.EMFILE, "Too many open files"))
        errors.report("yard", "not written", OSError(errno.ENOSPC, "No space left"))
        errors.report("yard", "not written", KeyError("x"))
    lines = [record.getMessage().partition("\n") for record in caplog.records]
    assert [(first, not trace) for first, _, trace in lines] == [
        ("yard: not written: [Errno 24] Too many open files: 0", True),
        ("gate: not written: [Errno 24] Too many open files", True),
        ("yard: not written: [Errno 28] No space left", True),
        ("yard: not written: 'x'", False),
    ]
    now[0] = 600.0
    errors.report("yard", "not written", KeyError("y"))
    assert caplog.records[-1].getMessage() == "yard: not written: 'y' (999 more since the last line)"


def test_errors_are_logged_without_secrets(caplog):
    errors = RepeatedErrors(logging.getLogger("x"))
    try:
        raise ConnectionError("rtsp://admin:hunter2@10.0.0.5/1?token=abc123 refused")
    except ConnectionError as reason:
        failure = RuntimeError("https://hooks.example/services/T0/XyZ failed")
        failure.__cause__ = reason
    errors.report("yard", "not sent", failure)
    assert "Traceback" in caplog.text and "rtsp://***@10.0.0.5/1" in caplog.text
    assert not [secret for secret in ("hunter2", "abc123", "XyZ") if secret in caplog.text]
