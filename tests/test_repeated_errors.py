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
    assert [(record.getMessage(), record.exc_info is None) for record in caplog.records] == [
        ("yard: not written: [Errno 24] Too many open files: 0", True),
        ("gate: not written: [Errno 24] Too many open files", True),
        ("yard: not written: [Errno 28] No space left", True),
        ("yard: not written: 'x'", False),
    ]
    now[0] = 600.0
    errors.report("yard", "not written", KeyError("y"))
    assert caplog.records[-1].getMessage() == "yard: not written: 'y' (999 more since the last line)"
    assert caplog.records[-1].exc_info is None
