"""The process that reads MATLAB files: started at the first file, kept, and replaced after a crash."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np

from offnormal.data import mat_reader
from offnormal.errors import DataError

_LIMIT_S = 120.0  # for one file; the masks of a long video take seconds


class MatProcess:
    """One child process at a time; safe for several threads, and after a fork."""

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it; after a fork, both would read the same answers

    def read(self, path: Path, key: str) -> np.ndarray | list[np.ndarray]:
        """Return a variable as `read_mat` does; DataError for a file that cannot be read, or not within the limit."""
        with self._lock:
            process = self._running()
            timer = threading.Timer(self._limit_s, process.kill)
            timer.daemon = True
            timer.start()
            try:
                return _ask(process, path, key)
            except DataError:
                raise
            except (OSError, EOFError, ValueError):
                took_too_long = not timer.is_alive()
                self._end(process)
                why = f"reading took more than {self._limit_s:g} s" if took_too_long else "it crashes the reader"
                raise DataError(f"{path}: damaged: {why}; replace the file, or save it again") from None
            except BaseException:  # such as an interrupt: the rest of the answer would precede the next one
                self._end(process)
                raise
            finally:
                timer.cancel()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # a request that was never sent
                    stream.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._process = subprocess.Popen(
                [sys.executable, "-P", mat_reader.__file__],  # -P: modules next to it do not hide others
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process


def _ask(process: subprocess.Popen[bytes], path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    """Send a request and return its answer; OSError, EOFError, or ValueError if the process ends meanwhile."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps([str(path.absolute()), key]).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise DataError(f"{path}: {answer['error']}")
    blobs = [process.stdout.read(size) for size in answer["sizes"]]
    if [len(blob) for blob in blobs] != answer["sizes"]:
        raise EOFError
    arrays: list[np.ndarray] = [np.load(io.BytesIO(blob), allow_pickle=False) for blob in blobs]
    return arrays if answer["cell"] else arrays[0]


@cache
def mat_process() -> MatProcess:
    """Return the one of this program."""
    return MatProcess()
