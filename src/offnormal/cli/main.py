"""The program `offnormal`: a verb is imported on first use; an error is one line and an exit code."""

from __future__ import annotations

import keyword
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter
from cyclopts import ValidationError as WrongValue
from pydantic import ValidationError

from offnormal.cli.flags import OPTIONS
from offnormal.cli.help import HelpFormatter
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
    _set_torch_up()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; a user's mistake never shows a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries; what concerns users is logged
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
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)


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
    sys.stderr.write(f"offnormal: {message}\n")
    return code
