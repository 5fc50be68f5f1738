"""PaDiM from a folder of normal images to verdicts, in one script.

    python examples/padim.py bottle/ new/*.png

The first argument is a dataset in a layout that `offnormal list layouts` shows (or any folder of normal images),
the others are images to judge. Without arguments a small inspection set is generated and used.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import offnormal as on


def main(arguments: list[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="offnormal-"))
    if arguments:
        data, images = Path(arguments[0]), arguments[1:]
    else:
        from offnormal.demo import generate

        data = work / "flanges"
        generate(data, train=120, test_good=20, per_defect=5)
        images = [str(data / "test" / "*" / "00*.png")]

    # Learn what normal is. Nothing anomalous is needed: the threshold comes from the normal images too, each scored
    # by a Gaussian that has not seen it, so that the false-alarm rate can be promised.
    run = on.fit("padim", data=data, out=work / "runs")
    print(run.bundle.calibration.explanation)

    # Raw scores and maps, higher = more anomalous; verdicts are a thing of their own.
    if images:
        scores = on.score(run.bundle, images)
        for score in scores.score:
            verdict = run.bundle.calibration.verdict(float(score))
            word = "anomalous" if verdict.anomalous else "normal"
            print(f"{verdict.score:8.2f}  p-value {verdict.p_value:.2g}  {word}")
        where = scores.map[scores.score.argmax()]
        row, column = divmod(int(where.argmax()), where.shape[1])
        print(f"the most suspicious image is off at row {row}, column {column} of its {where.shape} map")

    # With labels, how good it is: metrics, decisions, a report.
    if (data / "test").is_dir():
        result = on.evaluate(run.bundle, data=data)
        print({name: round(value, 4) for name, value in result.metrics.items()})
        print("report:", run.path / "report.html")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
