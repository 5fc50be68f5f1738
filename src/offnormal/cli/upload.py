"""offnormal upload RUN [URL]."""

from __future__ import annotations

from pathlib import Path


def command(run: Path, url: str | None = None, /, *, json: bool = False) -> int:
    """Upload what is left of a run: only files that have changed since.

    Parameters
    ----------
    run
        Run folder, or the folder of a run over several categories.
    url
        Such as s3://bucket/prefix; default: where the run was uploaded to before.
    json
        Print one JSON object per run.
    """
    from offnormal.cli.show import say, say_json
    from offnormal.verbs.upload import upload_runs

    for found in upload_runs(run, url):
        if json:
            say_json({"run": found.run, "place": found.place, "files": found.files})
        else:
            say(f"{found.run}: {found.files} file(s) uploaded to {found.place}")
    return 0
