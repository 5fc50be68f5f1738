"""The program `offnormal`: a verb is imported on first use; an error is one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import keyword
import logging
import os
import select
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter
from cyclopts import ValidationError as WrongValue
from pydantic import ValidationError

from offnormal.cli.flags import OPTIONS
from offnormal.cli.help import HelpFormatter
from offnormal.cli.show import discard_output
from offnormal.errors import (
    BundleError,
    CalibrationError,
    ConfigError,
    DataError,
    OffnormalError,
    UsageError,
    WeightsError,
)
from offnormal.redact import redact, redact_webhooks

DONE, FAILED, WRONG_USE, ANOMALIES, INTERRUPTED = 0, 1, 2, 3, 130
_TRACEBACK = "OFFNORMAL_TRACEBACK"  # environment variable: show where an unexpected error happened
_COLUMNS = (40, 500)  # narrowest and widest output
_WRONG_USE = (UsageError, ConfigError, DataError, WeightsError, BundleError, CalibrationError)


_VERBS = (  # name, summary, example
    ("fit", "Learn what is normal from normal images or video, and calibrate a threshold.", ""),
    (
        "calibrate",
        "Set the threshold of a bundle from other normal images or footage.",
        "calibrate runs/NAME --normal more_good_images/",
    ),
    (
        "evaluate",
        "Score a labeled test set: metrics, a table of scores, and a report.",
        "evaluate runs/NAME --data mvtec/bottle",
    ),
    (
        "compare",
        "Compare evaluations of the same test set in one table and one report.",
        "compare runs/FIRST runs/SECOND",
    ),
    (
        "predict",
        "Score images or videos: which are anomalous, where, and when.",
        "predict runs/NAME photos/ --overlays heat_maps/",
    ),
    (
        "watch",
        "Watch cameras or recordings, and send an alert for each event.",
        "watch runs/NAME rtsp://camera/1 --sink jsonl:events.jsonl",
    ),
    (
        "benchmark",
        "Measure the speed, memory, size, and startup time of a bundle.",
        "benchmark runs/NAME --data photos/",
    ),
    ("import", "Make a bundle from weights saved by a method's published code.", ""),
    (
        "upload",
        "Upload a run to s3:// or another store, or continue an interrupted upload.",
        "upload runs/NAME s3://bucket/runs",
    ),
    (
        "list",
        "List detectors, backbones, dataset layouts, or sinks; or the calibrations of a bundle.",
        "list backbones --search resnet",
    ),
    ("doctor", "Check the installation.", "doctor"),
    ("demo", "Generate a small inspection dataset, then fit, evaluate, and report on it.", "demo --out runs"),
)

_LONG = ("calibrate", "evaluate", "compare", "predict", "watch", "benchmark")  # verbs with flags that --help leaves out
_MORE = "\nEvery flag: --help-all"
_USAGE = {  # of verbs that take several names
    "predict": "predict [OPTIONS] BUNDLE INPUT...",
    "compare": "compare [OPTIONS] RUN RUN...",
    "watch": "watch [OPTIONS] BUNDLE SOURCE...\n       offnormal watch [OPTIONS] --config FILE",
    "list": "list [OPTIONS] WHAT [NAME]",
    "upload": "upload [OPTIONS] RUN [URL]",
}


def build_app(*, show_all: bool = False) -> App:
    """Build the command tree without heavy imports. show_all: help pages have every flag."""
    app = App(
        name="offnormal",
        help=(
            "Learn what is normal from normal images or video alone. Report whether something is anomalous, where, "
            "when, and with what confidence."
        ),
        version=lambda: f"offnormal {version('offnormal')}",
        help_format="plaintext",
        help_epilogue="First step: offnormal demo\nEvery flag: offnormal COMMAND --help-all",
        help_formatter=HelpFormatter(show_all=show_all),
        group_parameters=OPTIONS,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        default_parameter=Parameter(negative_iterable=()),
    )
    for name, summary, example in _VERBS:
        module = f"{name}_" if keyword.iskeyword(name) else name
        more = {"help_epilogue": f"Example: offnormal {example}{_MORE if name in _LONG else ''}"} if example else {}
        more |= {"usage": f"Usage: offnormal {_USAGE[name]}"} if name in _USAGE else {}
        app.command(f"offnormal.cli.{module}:command", name=name, help=summary, **more)
    return app


def _set_torch_up() -> None:
    """Set variables that torch reads from the environment, unless they are set already (docs/benchmarks.md).

    OpenMP's threads spin for microseconds before they sleep. Longer spinning would take the core from the thread they
    wait for, if the machine has other work; without spinning, every small layer would wait for a wake-up. Memory
    blocks of two megabytes or more use huge pages, which cost one page fault instead of 512.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # libgomp's own default is 300,000
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed, 2 wrong use or data, 3 anomalies found, 130 interrupted."""
    _open_streams()
    _set_torch_up()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; a user's mistake never shows a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries; what concerns users is logged
    _clamp_columns()
    try:
        show_all = "--help-all" in arguments
        tokens = ["--help" if token == "--help-all" else token for token in _join_hyphens(arguments)] or ["--help"]
        result = build_app(show_all=show_all)(tokens, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except CycloptsError as error:
        return _complain(_explain(error), WRONG_USE)
    except OffnormalError as error:
        return _complain(str(error), WRONG_USE if isinstance(error, _WRONG_USE) else FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the edge
        if isinstance(error, BrokenPipeError) and _has_no_reader():  # as with `| head`
            discard_output()
            return DONE
        if os.environ.get(_TRACEBACK):
            lines = "".join(traceback.format_exception(error))
            logging.getLogger(__name__).error("traceback: %s", redact_webhooks(lines))
        return _complain(redact_webhooks(_explain_unexpected(error)), FAILED)


def _has_no_reader() -> bool:
    """Whether the program that reads stdout has ended; other connections break, too."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # reports errors only
        return bool(poll.poll(0))
    except AttributeError:  # this system cannot tell
        return True
    except (OSError, ValueError):  # stdout was replaced by a program that calls us
        return False


def _explain_unexpected(error: Exception) -> str:
    """What a user can do about an error that no other code explains."""
    if isinstance(error, OSError) and not isinstance(error, UnicodeError):
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return (
                f"too many open files ({error.filename or error}); raise the limit (ulimit -n), or use fewer --workers"
            )
        if isinstance(error, ConnectionError):
            return f"a connection failed ({error.strerror or error}); check the address and the network, and retry"
        return f"{error.filename or 'the output'}: {error.strerror or error}"
    if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
        return "not enough memory; choose a smaller --batch-size or --size, or close other programs"
    detail = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}".rstrip(": ")
    return (
        f"unexpected error ({detail}). Check that the named files are undamaged; {_TRACEBACK}=1 shows where it "
        "happened, for a report to the developers"
    )


def _join_hyphens(arguments: Sequence[str]) -> list[str]:
    """Arguments with `--csv -` as `--csv=-`, because the parser reads a single hyphen as a flag."""
    joined: list[str] = []
    for argument in arguments:
        if argument == "-" and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += "=-"
        else:
            joined.append(argument)
    return joined


def _explain(error: CycloptsError) -> str:
    if isinstance(error, WrongValue) and isinstance(error.__cause__, ValidationError):
        from offnormal.config.validation import format_validation_error

        return format_validation_error(error.__cause__)
    return str(error)


def _complain(message: str, code: int) -> int:
    try:
        sys.stderr.write(f"offnormal: {redact(message)}\n")
        sys.stdout.flush()
    except OSError:  # a full disk, or nobody reads any more
        discard_output()
    return code


def _open_streams() -> None:
    """Replace closed standard streams, and print names that are not Unicode with backslashes.

    A closed stream leaves its number to the next file that is opened, and libraries would print into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            with contextlib.suppress(OSError):
                while (descriptor := os.open(os.devnull, os.O_RDWR)) < number:
                    pass  # an earlier stream is closed as well
                setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _clamp_columns() -> None:
    """Help pages hang below a few columns, and fill the memory at very many."""
    widths = [os.environ.get("COLUMNS", "")]
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            widths.append(str(os.get_terminal_size(stream).columns))
    for width in widths:
        if width.isdecimal() and width.isascii() and int(width[:9]) > 0:
            if not _COLUMNS[0] <= int(width[:9]) <= _COLUMNS[1]:
                os.environ["COLUMNS"] = str(min(max(int(width[:9]), _COLUMNS[0]), _COLUMNS[1]))
            return
