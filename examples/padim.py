"""PaDiM: from a folder of normal images to verdicts, in one script.

    python examples/padim.py bottle/ new/*.png

The first argument is a dataset in a layout from `offnormal list layouts` (or any folder of normal images); the others
are images to score. Without arguments, the script generates a small inspection set.
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

    # Learn from normal images only. The threshold comes from the same images, each scored by a Gaussian without it, so
    # that the expected false-alarm rate is guaranteed.
    run = on.fit("padim", data=data, out=work / "runs")
    print(run.bundle.calibration.explanation)

    # Raw scores and maps, higher = more anomalous; the calibration turns scores into verdicts.
    if images:
        scores = on.score(run.bundle, images)
        for score in scores.score:
            verdict = run.bundle.calibration.verdict(float(score))
            word = "anomalous" if verdict.anomalous else "normal"
            print(f"{verdict.score:8.2f}  p-value {verdict.p_value:.2g}  {word}")
        anomaly_map = scores.map[scores.score.argmax()]
        row, column = divmod(int(anomaly_map.argmax()), anomaly_map.shape[1])
        print(f"the highest value is at row {row}, column {column} of the map of the most anomalous image")

    # With labels: metrics, confusion matrix, and a report.
    if (data / "test").is_dir():
        result = on.evaluate(run.bundle, data=data)
        print({name: round(value, 4) for name, value in result.metrics.items()})
        print("report:", run.path / "report.html")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
