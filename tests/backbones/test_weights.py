import hashlib
import http.server
import pickle
import threading

import pytest
import torch
from safetensors.torch import save_file

from offnormal.backbones import weights
from offnormal.backbones.images import TimmBackbone
from offnormal.backbones.weights import fetch_url, lite0_file, read_weights
from offnormal.errors import WeightsError


def test_tensors_are_read_from_both_formats_and_common_wrappers(tmp_path):
    state = {"a": torch.rand(3), "b": torch.rand(2, 2)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        tensors = read_weights(tmp_path / name)
        assert {key: value.tolist() for key, value in tensors.items()} == {k: v.tolist() for k, v in state.items()}


class Evil:
    def __reduce__(self):
        return (open, ("evil-was-here", "w"))


def test_a_file_with_code_is_refused_and_the_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "w.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("w.pth", "plain.pth"):
        with pytest.raises(WeightsError, match="state_dict"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "evil-was-here").exists()


def test_errors_name_missing_damaged_and_invalid_files(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "w.safetensors").write_bytes(b"1234567890")
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        read_weights(tmp_path / "w.safetensors")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="mapping"):
        read_weights(tmp_path / "list.pth")


def test_the_packaged_file_is_checked(tmp_path, monkeypatch):
    assert lite0_file().is_file()
    monkeypatch.setattr(weights, "LITE0_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="reinstall"):
        lite0_file()


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2", "mobilenetv3_small_100"])
def test_a_missing_download_fails_within_seconds_and_names_the_flag(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    answered, release = [], threading.Event()

    def hang(*_args, **_kwargs):  # a resolver that never answers
        release.wait(60)
        answered.append(True)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", hang)
    monkeypatch.setattr(weights, "_DEADLINE_S", 0.2)
    with pytest.raises(WeightsError, match="--weights FILE"):
        TimmBackbone(name).load_pretrained()
    assert not answered, "the error came only when the network had given up"
    release.set()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A loopback server with a weights file, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("http_proxy", raising=False)
    torch.save({"a": torch.ones(4)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", hashlib.sha256(content).hexdigest()
    server.shutdown()
    server.server_close()


def test_a_download_is_logged_verified_and_cached(served, caplog):
    address, sha256 = served
    path = fetch_url(f"{address}/net-{sha256[:8]}.pth", "net")
    assert read_weights(path)["a"].tolist() == [1, 1, 1, 1]
    assert "downloading weights of net" in caplog.text
    caplog.clear()
    assert fetch_url(f"{address}/net-{sha256[:8]}.pth", "net") == path
    assert not caplog.text


def test_a_download_with_a_wrong_checksum_is_refused_and_removed(served, tmp_path):
    address, _ = served
    with pytest.raises(WeightsError, match="sha256"):
        fetch_url(f"{address}/net-00000000.pth", "net")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
