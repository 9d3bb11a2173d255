"""Encoders from a repository of a hub (here: a server of this test), and from a folder of timm's format."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from timm.models import save_for_hf

from workflow.lib.job.run import UserError, read_json
from workflow.lib.networks import pretrained, timm_models
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.pretrain.released import adopt_weights
from workflow.lib.rank.export import export_encoder
from workflow.lib.study.checkpoints import HUB, LOCAL_DIR

SIZE, TOKEN = 64, "hf_abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def _forget() -> None:
    timm_models._found.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with arguments, inputs and a licence of its own, as timm saves it."""
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=3, output_stride=16)
    config = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "license": "cc-by-nc-4.0"}
    save_for_hf(
        network, str(tmp_path / "hub"), model_config={"pretrained_cfg": config, "model_args": {"output_stride": 16}}
    )
    return tmp_path / "hub"


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """A hub with the repository me/net of these files; a call closes it to those without the token. It returns the requests'
    authorizations."""
    state: dict[str, Any] = {"gated": False, "status": 0, "error": "", "seen": []}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            state["seen"].append(self.headers.get("Authorization", ""))
            path = folder / self.path.rpartition("/")[2]
            if self.path.startswith("/api/models/me/net"):
                facts = {"id": "me/net", "gated": state["gated"], "siblings": [], "cardData": {"license": "mit"}}
                status, content = 200, json.dumps(facts).encode()
            elif state["status"] and TOKEN not in self.headers.get("Authorization", ""):
                status, content = state["status"], b"{}"
            else:
                status, content = (200, path.read_bytes()) if path.is_file() else (404, b"{}")
            self.send_response(status)
            if status != 200:
                self.send_header("X-Error-Code", state["error"] if status == state["status"] else "EntryNotFound")
            digest = hashlib.sha256(content).hexdigest()
            self.send_header("ETag", f'"{digest}"')
            self.send_header("X-Repo-Commit", digest[:40])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place, template = f"http://127.0.0.1:{server.server_port}", "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", place)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def close(**changes: Any) -> list[str]:
        state.update(changes)
        return state["seen"]

    yield close
    server.shutdown()


def adopted(architecture: str, place: Path) -> dict[str, Any]:
    encoder = {"architecture": f"timm/{architecture}"}
    path = place / "adopted/epoch9.safetensors"
    adopt_weights(weights=path, encoder=encoder, source="timm", sha256=None, epochs=9, image_size=SIZE)
    network = build_encoder(encoder, use="simple", image_size=SIZE)
    load_encoder(network, path)
    return read_json(path.with_suffix(".json")) | {"network": network}


def check_network(card: dict[str, Any], folder: Path) -> None:
    network = card["network"]
    assert network.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert network.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert network.reductions == [2, 4, 8, 16]  # not 32, by the arguments of config.json
    given = timm.create_model(f"{LOCAL_DIR}{folder}", pretrained=True).state_dict()
    assert torch.equal(network.state_dict()["network.layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])


def test_a_folder_of_timms_format(folder: Path, tmp_path: Path) -> None:
    card = adopted(f"{LOCAL_DIR}{folder}", tmp_path)
    check_network(card, folder)
    assert card["licence"] == "cc-by-nc-4.0" and card["from"] == f"{LOCAL_DIR}{folder}"


def test_a_repository_and_its_terms(folder: Path, hub: Callable[..., list[str]], tmp_path: Path) -> None:
    card = adopted(f"{HUB}me/net", tmp_path)
    check_network(card, folder)
    assert card["licence"] == "cc-by-nc-4.0"
    hub(gated="manual")
    page = f"{huggingface_hub.constants.ENDPOINT}/me/net"
    assert adopted(f"{HUB}me/net", tmp_path)["licence"] == f"cc-by-nc-4.0, gated: its terms are at {page}"
    config = read_json(folder / "config.json")
    del config["pretrained_cfg"]["license"]
    (folder / "config.json").write_text(json.dumps(config))
    timm_models._found.cache_clear()
    assert adopted(f"{HUB}me/net", tmp_path)["licence"] == f"mit, gated: its terms are at {page}"  # of the model's page


def test_a_gated_repository_asks_for_a_token_and_never_shows_it(
    folder: Path,
    hub: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    seen = hub(gated="auto", status=403, error="GatedRepo")
    for token in ("", "hf_another_one_that_has_not_accepted"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError, match="a gated repository") as error:
            adopted(f"{HUB}me/net", tmp_path)
        for words in (
            f"{huggingface_hub.constants.ENDPOINT}/me/net",
            "accept the terms",
            "export HF_TOKEN=<",
            "weights",
        ):
            assert words in str(error.value)
        assert not token or token not in str(error.value) + caplog.text
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    card = adopted(f"{HUB}me/net", tmp_path)
    check_network(card, folder)
    assert f"Bearer {TOKEN}" in seen
    del card["network"]
    assert TOKEN not in caplog.text + str(card)


def test_repositories_that_cannot_be_had(
    folder: Path, hub: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{HUB}me/net"
    hub(status=401, error="RepoNotFound")
    refused(name, ["no such repository or revision, or a private one", "HF_TOKEN"])
    refused(f"{HUB}me/net/x", ["no such repository or revision"])
    hub(status=0)
    (folder / "config.json").write_text('{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}')
    refused(name, ["a config.json that is not of a timm model", "a file of weights and timm's architecture"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    refused(
        name,
        [
            "not available",
            f"{huggingface_hub.constants.ENDPOINT}/me/net",
            "find the requested files in the local cache",
            "on a machine with internet",
        ],
    )


def refused(name: str, words: list[str]) -> None:
    timm_models._found.cache_clear()
    with pytest.raises(UserError) as error:
        pretrained.find_pretrained(name, "timm", SIZE)
    for word in words:
        assert word in str(error.value)


def test_folders_that_are_none_of_timms(folder: Path, tmp_path: Path) -> None:
    refused(f"{LOCAL_DIR}{tmp_path}", ["Config file not found", "config.json", str(tmp_path)])
    [weights] = [path for path in folder.iterdir() if path.stem.endswith("model")]
    weights.rename(folder / "a.safetensors")
    assert pretrained.find_pretrained(f"{LOCAL_DIR}{folder}", "timm", SIZE)
    (folder / "b.safetensors").write_bytes(b"")
    refused(f"{LOCAL_DIR}{folder}", ["a.safetensors, b.safetensors", "or name the file itself as `weights`"])
    (folder / "config.json").write_text('{"architecture": "resnet18x", "pretrained_cfg": {}}')
    refused(f"{LOCAL_DIR}{folder}", ["resnet18x is no architecture of timm"])


@pytest.mark.slow
def test_the_export_of_a_repositorys_encoder_needs_no_repository(folder: Path, tmp_path: Path) -> None:
    card = adopted(f"{LOCAL_DIR}{folder}", tmp_path)
    export_encoder(
        weights=tmp_path / "adopted/epoch9.safetensors",
        folder=tmp_path / "out",
        encoder=card["encoder"],
        image_size=SIZE,
        aspect="kept",
        inputs="unchanged",
        choice={"label": "net"},
    )
    note = read_json(tmp_path / "out/note.json")
    assert note["licence"] == "cc-by-nc-4.0" and "local-dir" not in note["timm.safetensors"]
    call = (
        note["timm.safetensors"]
        .partition(";")[0]
        .replace("'timm.safetensors'", repr(str(tmp_path / "out/timm.safetensors")))
    )
    images = torch.rand(1, 3, SIZE, SIZE)
    given, again = card["network"].eval(), eval(call, {"timm": timm}).eval()
    with torch.no_grad():
        expected = given(images)
        found = again((images - given.mean) / given.std)
    assert all(torch.equal(one, found[level]) for one, level in zip(expected, given.levels, strict=True))
