import os
import subprocess
import sys

import pytest

from offnormal.cli.main import main, run


def test_help_and_version(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in ("fit", "calibrate", "evaluate", "compare", "predict", "list", "doctor", "demo"):
        assert verb in out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("offnormal 0.")
    assert run([]) == 0
    assert "Usage" in capsys.readouterr().out


def test_it_is_a_module_that_runs_too():
    version = subprocess.run(
        [sys.executable, "-m", "offnormal", "--version"], check=True, capture_output=True, text=True
    )
    assert version.stdout.startswith("offnormal 0.")
    wrong = subprocess.run([sys.executable, "-m", "offnormal", "predikt"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 2 and "predict" in wrong.stderr and "Traceback" not in wrong.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from offnormal.cli.main import run; run(['--help']);"
        "assert not {'torch', 'timm', 'numpy', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predikt"], "predict"),
        (["fit", "padin"], "padim"),
        (["fit", "padim", "--dat", "x"], "--data"),
        (["fit", "padim"], "--data DIR"),
        (["fit", "padim", "--data", "/no/such"], "no such folder"),
        (["fit", "padim", "--data", ".", "--eps", "-1"], "greater than 0"),
        (["fit", "padim", "--data", ".", "--size", "tiny"], "256x320"),
        (["fit", "padim", "--data", ".", "--on-error", "cry"], "skip"),
        (["predict", "/no/bundle", "x.png"], "x.png"),
        (["predict", "/no/bundle"], "predict needs images"),
        (["evaluate", "/no/bundle", "--data", "/no"], "/no"),
        (["calibrate", "/no/bundle", "--normal", "/no"], "no bundle found"),
        (["list", "things"], "detectors"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(arguments, message, capsys):
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("offnormal: ")
    assert "Traceback" not in err


def test_an_interrupt_exits_130(monkeypatch, capsys):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("offnormal.cli.doctor._weights", interrupt)
    assert run(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    code = "from offnormal.cli.main import main; main(['list', 'layouts'])"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -n 1', shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_spin_briefly_unless_the_user_says_otherwise(environment, expected, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.setenv(name, "")  # so that what main sets is undone
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize(("setting", "expected"), [(None, "1"), ("0", "0")])
def test_torch_takes_huge_pages_unless_the_user_says_otherwise(setting, expected, monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "" if setting is None else setting)
    if setting is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == expected


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory; choose a smaller --batch-size or --size"),
        (KeyError("fps"), "unexpected error (KeyError: 'fps')"),
        (AttributeError("no shape"), "unexpected error (AttributeError: no shape)"),
        (RecursionError(), "unexpected error (RecursionError)"),
        (OSError(24, "Too many open files", "a.png"), "too many open files (a.png); raise the limit"),
        (BrokenPipeError(32, "Broken pipe"), "a connection failed (Broken pipe); check the address"),
        (ValueError("rtsp://u:hunter2@cam/1?token=abc is odd"), "unexpected error (ValueError: rtsp://***@cam/1?token"),
        (OSError(5, "Input/output error", "a.png"), "a.png: Input/output error"),
    ],
)
def test_an_unexpected_error_is_one_line_with_advice(monkeypatch, capsys, caplog, error, message):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("offnormal.cli.doctor._weights", fail)
    assert run(["doctor"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"offnormal: {message}") and "hunter2" not in err
    assert err.count("\n") == 1
    monkeypatch.setenv("OFFNORMAL_TRACEBACK", "1")
    assert run(["doctor"]) == 1
    assert caplog.records[-1].getMessage().startswith("traceback: Traceback")


@pytest.mark.parametrize(("columns", "clamped"), [("1", "40"), ("39", "40"), ("40", "40"), ("9" * 12, "500")])
def test_the_width_of_the_terminal_is_clamped(monkeypatch, capsys, columns, clamped):
    monkeypatch.setenv("COLUMNS", columns)
    assert run(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(clamped)
    assert os.environ["COLUMNS"] == clamped


@pytest.mark.parametrize(
    ("redirections", "code", "message"),
    [(">&-", 0, ""), ("> /dev/full", 1, "No space left on device"), ("<&- >&- 2>&-", 0, "")],
)
def test_closed_and_full_outputs_cause_no_traceback(redirections, code, message):
    done = subprocess.run(
        f"{sys.executable} -m offnormal list layouts {redirections}",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == bool(message)


def test_a_closed_output_does_not_become_the_next_file(tmp_path):
    code = "import sys, offnormal.cli.main as m; m._open_streams(); f = open('x', 'w'); print('lost'); f.write('kept')"
    subprocess.run(f'{sys.executable} -c "{code}" >&-', shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "x").read_text() == "kept"


def test_names_that_are_not_unicode_are_printed_as_escapes():
    code = "import offnormal.cli.main as m; m._open_streams(); print('caf\\udce9.png')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"caf\\udce9.png\n"
