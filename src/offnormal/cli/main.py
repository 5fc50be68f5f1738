"""The program `offnormal`: verbs are imported when they are asked for, errors become one line and an exit code."""

from __future__ import annotations

import keyword
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter
from cyclopts import ValidationError as WrongValue
from pydantic import ValidationError

from offnormal.errors import (
    BundleError,
    CalibrationError,
    ConfigError,
    DataError,
    OffnormalError,
    UsageError,
    WeightsError,
)

DONE, FAILED, WRONG_USE, ANOMALIES, INTERRUPTED = 0, 1, 2, 3, 130
_WRONG_USE = (UsageError, ConfigError, DataError, WeightsError, BundleError, CalibrationError)


def build_app() -> App:
    """The command tree; nothing heavy is imported for it."""
    app = App(
        name="offnormal",
        help="Learns normality from normal images or video alone; says whether, where and how surely something is off.",
        version=lambda: f"offnormal {version('offnormal')}",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    )
    for name, summary in (
        ("fit", "learn normality from a data set and calibrate: makes a run folder with a bundle"),
        ("calibrate", "set a bundle's threshold from other normal images or footage"),
        ("evaluate", "score labelled images or videos: metrics, scores table, report"),
        ("compare", "hold several evaluations of the same data side by side: one table, one page"),
        ("predict", "say of each image or frame whether, where and how surely it is off"),
        ("watch", "watch cameras, open and close events, tell people"),
        ("benchmark", "measure speed, memory, size and start-up of a bundle"),
        ("import", "make a bundle of weights that a method's published code has saved"),
        ("upload", "copy what is left of a run to s3:// or another store"),
        ("list", "detectors, backbones, layouts or sinks"),
        ("doctor", "check the installation"),
        ("demo", "generate a small inspection set and run everything on it"),
    ):
        module = f"{name}_" if keyword.iskeyword(name) else name
        app.command(f"offnormal.cli.{module}:command", name=name, help=summary)
    return app


def _set_torch_up() -> None:
    """What torch reads from the environment when it is imported; what stands there already wins (docs/benchmarks.md).

    OpenMP's threads spin for microseconds before they sleep: long spinning holds the core that the awaited thread needs
    when a machine has other work, and no spinning at all makes every small layer wait for a wake-up. Memory of two
    megabytes and more comes in huge pages, which cost a page fault each in place of 512.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # libgomp's own default is 300,000
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed, 2 wrong use or data, 3 anomalies found, 130 interrupted."""
    _set_torch_up()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; an error of the user's never shows a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        result = build_app()(list(arguments) or ["--help"], exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except CycloptsError as error:
        return _complain(_explain(error), WRONG_USE)
    except OffnormalError as error:
        return _complain(str(error), WRONG_USE if isinstance(error, _WRONG_USE) else FAILED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)


def _explain(error: CycloptsError) -> str:
    if isinstance(error, WrongValue) and isinstance(error.__cause__, ValidationError):
        from offnormal.config.validation import format_validation_error

        return format_validation_error(error.__cause__)
    return str(error)


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"offnormal: {message}\n")
    return code
