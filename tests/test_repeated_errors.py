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
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == [
        "yard: not written: [Errno 24] Too many open files: 0",
        "gate: not written: [Errno 24] Too many open files",
        "yard: not written: [Errno 28] No space left",
        "yard: not written: 'x'",
    ]
    assert [record.getMessage().count("\n") > 0 for record in caplog.records] == [False, False, False, True]
    now[0] = 600.0
    errors.report("yard", "not written", KeyError("y"))
    assert caplog.records[-1].getMessage() == "yard: not written: 'y' (999 more since the last line)"


def test_secrets_in_addresses_are_hidden(caplog):
    errors = RepeatedErrors(logging.getLogger("x"))
    try:
        raise ValueError("rtsp://admin:hunter2@cam/1 is odd")
    except ValueError as error:
        errors.report("yard", "not read", error)
    (record,) = caplog.records
    assert "rtsp://***@cam/1 is odd" in record.getMessage() and "ValueError: rtsp://***@" in record.getMessage()
    assert "hunter2" not in caplog.text
