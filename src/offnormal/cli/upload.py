"""offnormal upload RUN [URL]."""

from __future__ import annotations

from pathlib import Path


def command(run: Path, url: str | None = None, /, *, json: bool = False) -> int:
    """Upload a run, or continue an interrupted upload: files that were uploaded and have not changed are skipped.

    Parameters
    ----------
    run
        Run folder, or the folder with the runs of several categories.
    url
        Such as s3://bucket/prefix. Default: the store the run was uploaded to before.
    json
        Print one JSON object per run.
    """
    from offnormal.cli.show import say, say_json
    from offnormal.errors import counted
    from offnormal.verbs.upload import upload_runs

    for uploaded in upload_runs(run, url):
        if json:
            say_json({"run": uploaded.run, "url": uploaded.url, "files": uploaded.files})
        else:
            say(f"{uploaded.run}: {counted(uploaded.files, 'file', 'files')} uploaded to {uploaded.url}")
    return 0
