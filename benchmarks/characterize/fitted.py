"""A run: what `fit`, `evaluate`, and `predict` make of one data set, in full."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from program import Done, Program, files_below, read_csv, read_json, read_yaml

FEW = ("--threads", 1, "--workers", 1, "--device", "cpu")


def fit(program: Program, detector: str, *arguments: object, out: Path) -> tuple[Done, Path | None]:
    """How `fit` ended, and the run's folder."""
    done = program.call("fit", detector, *arguments, "--out", out, *FEW, "--json")
    runs = sorted(path for path in out.iterdir() if path.is_dir()) if done.code == 0 and out.is_dir() else []
    return done, runs[-1] if runs else None


def weights(run: Path) -> dict[str, Any]:
    """Every tensor of a bundle in the order of its file's header: shape, kind, sum, sum of magnitudes, and a hash."""
    tensors = {}
    for path in sorted(run.rglob("*.safetensors")):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            start, stop = tensor["data_offsets"]
            raw = content[8 + length + start : 8 + length + stop]
            entry: dict[str, Any] = {"shape": tensor["shape"], "kind": tensor["dtype"]}
            kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}
            if tensor["dtype"] in kinds:
                values = np.frombuffer(raw, kinds[tensor["dtype"]]).astype(np.float64)
                entry |= {"sum": float(values.sum()), "magnitude": float(np.abs(values).sum())}
            else:
                entry["content"] = "sha256!" + hashlib.sha256(raw).hexdigest()
            tensors[f"{path.name}: {name}"] = entry
    return tensors


def content_hash(run: Path) -> str:
    """Of all tensors of a run's bundle, in the order of their names."""
    return (
        "sha256!"
        + hashlib.sha256(
            json.dumps(weights(run), sort_keys=True).encode() + b"".join(_raw(path) for path in _tensor_files(run))
        ).hexdigest()
    )


def _tensor_files(run: Path) -> list[Path]:
    return sorted((run / "bundle").glob("*.safetensors"))


def _raw(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + struct.unpack("<Q", content[:8])[0] :]


def stored(run: Path) -> dict[str, Any]:
    """What lies in a run's folder, in full."""
    contents: dict[str, Any] = {"files": files_below(run), "weights": weights(run)}
    for path in sorted([*run.glob("*.json"), *(run / "bundle").rglob("*.json"), *run.rglob("*.yaml")]):
        name = path.relative_to(run).as_posix()
        if name == "metrics.json" or path.name == "metrics.json":
            continue
        contents[name] = read_json(path) if path.suffix == ".json" else read_yaml(path.read_text())
    log = run / "log.jsonl"
    if log.is_file():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        contents["log.jsonl"] = [{key: value for key, value in line.items() if key not in _MOMENTS} for line in lines]
    return contents


# of a log's lines: when, how long, how fast
_MOMENTS = {"time", "seconds", "samples_per_s", "waiting", "rate_per_s", "images_per_s", "frames_per_s", "step_s"}


def evaluated(program: Program, run: Path, *arguments: object) -> dict[str, Any]:
    """How `evaluate` ended, and what it wrote."""
    done = program.call("evaluate", run, *arguments, *FEW)
    results = {"evaluate": done.entry(), "metrics.json": read_json(run / "metrics.json")}
    return {**results, "scores.csv": read_csv(run / "scores.csv")}


def predicted(program: Program, run: Path, folder: Path, *arguments: object) -> dict[str, Any]:
    """How `predict` ended, its rows, and the raw maps beside its overlays."""
    folder.mkdir(parents=True, exist_ok=True)
    table, overlays = folder / "rows.csv", folder / "overlays"
    flags = ("--csv", table, "--overlays", overlays, "--exit-code", "--json")
    done = program.call("predict", run, *arguments, *flags, *FEW)
    written = {path.relative_to(overlays).as_posix(): path for path in sorted(overlays.rglob("*.*"))}
    maps = {name: _sums(_raw_map(path)) for name, path in written.items() if path.suffix in (".tiff", ".npy")}
    files = {
        name: _image_summary(path) for name, path in written.items() if path.suffix == ".png"
    }  # of videos there are no raw maps
    return {"predict": done.entry(json=True), "rows": read_csv(table), "maps": maps, "overlays": files}


def _raw_map(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path))
    with Image.open(path) as image:
        return np.asarray(image)


def _image_summary(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        return {"size": list(image.size), "mean": np.asarray(image.convert("RGB")).mean((0, 1)).round(3).tolist()}


def _sums(array: np.ndarray) -> dict[str, Any]:
    summary = {"shape": list(array.shape), "sum": float(array.sum(dtype=np.float64)), "highest": float(array.max())}
    return {**summary, "at": int(array.argmax())}


def scored(run: Path, images: list[Path]) -> dict[str, Any]:
    """Scores and sums of maps through the Python API; runs in a fork."""
    import offnormal as on

    scores = on.score(on.load(run), images, device="cpu", batch_size=4)
    answer = {
        name: np.asarray(getattr(scores, name)) for name in ("score", "map") if getattr(scores, name, None) is not None
    }
    terms = getattr(scores, "parts", None) or getattr(scores, "terms", None) or {}
    maps = answer.get("map")
    return {
        "score": answer["score"].tolist(),
        "map": None if maps is None else [_sums(anomaly_map) for anomaly_map in maps],
        "terms": {name: np.asarray(value).tolist() for name, value in terms.items()},
    }


def whole(
    program: Program,
    detector: str,
    data: list[Any],
    *options: object,
    out: Path,
    test: list[Any],
    measured: bool = True,
) -> Any:
    """Everything: fit, what is stored, evaluate (when measured), predict."""
    done, run = fit(program, detector, *data, *options, out=out)
    results: dict[str, Any] = {"fit": done.entry(json=True)}
    if run is None:
        return results
    results["stored"] = stored(run)
    if measured:
        results |= evaluated(program, run, *data)
    results |= predicted(program, run, out / "predicted", *test)
    return results
