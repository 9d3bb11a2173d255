"""Weight files as people have them: wrapped, prefixed, of other programs, or no weights at all."""

import argparse
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workflow.lib.job.run import UserError, read_json
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.networks.pretrained import find_pretrained
from workflow.lib.pretrain.released import adopt_weights

NAME, SIZE = "resnet18", 64
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return timm.create_model(NAME).state_dict()


@pytest.fixture(scope="module")
def body(state: State) -> State:
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        torch.save(content, tmp_path / "w.pth")
        return str(tmp_path / "w.pth")

    return write


def below(prefix: str, state: State, shift: float = 0) -> State:
    return {prefix + key: tensor + (shift if tensor.is_floating_point() else 0) for key, tensor in state.items()}


def taken_from(path: str, body: State, **options: Any) -> dict[str, Any]:
    """What the card says of a file, after it was found to hold the tensors of `body`."""
    tensors, taken = find_pretrained(NAME, path, SIZE, **options)
    assert tensors.keys() == {f"network.{key}" for key in body}
    assert all(torch.equal(tensors[f"network.{key}"], tensor) for key, tensor in body.items())
    return taken


@pytest.mark.parametrize(
    "prefix", ["", "encoder.", "model.encoder.", "module.encoder_q.", "_orig_mod.", "module.module.", "a.b.c."]
)
@pytest.mark.parametrize("wrapper", ["", "network_weights", "of.anyone"])
def test_prefix_and_wrapper_are_found_whatever_their_names(
    prefix: str, wrapper: str, body: State, save: Callable[[Any], str]
) -> None:
    named = below(prefix, body)
    taken = taken_from(save({wrapper: named, "epoch": 3} if wrapper else named), body)
    assert taken == {"prefix": f"{wrapper}.{prefix}".removeprefix("."), "ignored": {}, "filled": 0, "grey": []}


def test_mappings_in_mappings(body: State, save: Callable[[Any], str]) -> None:
    assert taken_from(save({"model": {"net": {"state_dict": body}}}), body)["prefix"] == "model.net.state_dict."


def test_what_is_left_aside_is_counted_in_log_and_card(
    body: State, save: Callable[[Any], str], caplog: pytest.LogCaptureFixture
) -> None:
    around = {
        "model.decoder.1.weight": torch.ones(2),
        "model.decoder.2.weight": torch.ones(2),
        "head.0.bias": torch.ones(1),
    }
    inner = {"model.encoder.projector.0.weight": torch.ones(3), "model.encoder.mask_token": torch.ones(1, 3)}
    optimiser = {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(3.0)}}}
    with caplog.at_level(logging.INFO, logger="medseg"):
        content = {"state_dict": below("model.encoder.", body) | around | inner, "optimizer": optimiser}
        taken = taken_from(save(content), body)
    assert taken["ignored"] == {
        "state_dict.model.decoder": 2,
        "state_dict.head": 1,
        "optimizer": 2,
        "state_dict.model.encoder.projector": 1,
        "state_dict.model.encoder.mask_token": 1,
    }
    assert (
        "120 tensors below state_dict.model.encoder." in caplog.text and "state_dict.model.decoder (2)" in caplog.text
    )


@pytest.mark.parametrize("key", ["norm_pre.weight", "reg_token", "blocks.0.ls1.gamma", "dist_token"])
def test_parts_of_an_encoder_that_the_named_one_lacks_are_refused(key: str, save: Callable[[Any], str]) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=SIZE).state_dict()
    content = save(vit | {key: torch.ones(1, 1, 192)})
    with pytest.raises(UserError, match=f"1 unknown.*unknown {key}"):
        find_pretrained("vit_tiny_patch16_224", content, SIZE)
    rest = {"decoder_blocks.0.norm1.weight", "decoder_pos_embed", "mask_token", "fc_norm.weight", "head.mlp.0.weight"}
    path = save(vit | {name: torch.ones(1, 1, 192) for name in rest})
    ignored = find_pretrained("vit_tiny_patch16_224", path, SIZE)[1]["ignored"]
    assert ignored.keys() == {
        "decoder_blocks",
        "decoder_pos_embed",
        "fc_norm",
        "head",
        "norm",
    }  # timm drops the mask token


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("encoder_q.", "encoder_k."),
        ("student.module.backbone.", "teacher.backbone."),
        ("state_dict.", "state_dict_ema."),
    ],
)
def test_of_two_that_fit_the_user_chooses(one: str, other: str, body: State, save: Callable[[Any], str]) -> None:
    path = save(below(one, body) | below(other, body, shift=1))
    with pytest.raises(UserError, match="several sets of weights fit") as error:
        find_pretrained(NAME, path, SIZE)
    for prefix in (one, other):
        assert repr(prefix.removesuffix(".")) in str(error.value)
    assert "part: " in str(error.value)
    assert taken_from(path, body, part=one.partition(".")[0])["prefix"] == one
    assert taken_from(path, below("", body, shift=1), part=other.removesuffix("."))["prefix"] == other
    with pytest.raises(UserError, match="no such part") as error:
        find_pretrained(NAME, path, SIZE, part="teach")
    assert one.removesuffix(".") in str(error.value)
    assert taken_from(save(below(one, body) | below(other, body)), body)["ignored"].values()  # equal: no question


def test_text_towers_that_timm_drops_are_counted_too(save: Callable[[Any], str]) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=SIZE).state_dict()
    path = save(below("visual.trunk.", vit) | {"text.proj.weight": torch.ones(2, 2), "logit_scale": torch.ones(())})
    taken = find_pretrained("vit_tiny_patch16_224", path, SIZE)[1]
    assert taken["prefix"] == "visual.trunk."
    assert {"text": 1, "logit_scale": 1}.items() <= taken["ignored"].items()


def test_top_level_can_be_chosen(body: State, save: Callable[[Any], str]) -> None:
    path = save(body | below("ema.", body, shift=1))
    assert taken_from(path, body, part="")["prefix"] == ""


def test_counters_of_batch_norm_are_no_weights(body: State, save: Callable[[Any], str]) -> None:
    old = {key: tensor for key, tensor in body.items() if "num_batches" not in key}
    assert taken_from(save(old), body)["filled"] == 20


def test_missing_tensor_below_a_prefix_is_named(body: State, save: Callable[[Any], str]) -> None:
    lacking = {key: tensor for key, tensor in body.items() if key != "layer3.0.conv1.weight"}
    with pytest.raises(UserError, match=r"1 tensors missing.*\(below net.encoder.\): missing layer3.0.conv1.weight"):
        find_pretrained(NAME, save({"net": below("encoder.", lacking)}), SIZE)


def test_numbered_children_of_radimagenet(save: Callable[[Any], str]) -> None:
    state = timm.create_model("resnet50").state_dict()
    numbers = {name: str(i) for i, (name, _) in enumerate(timm.create_model("resnet50").named_children())}
    numbered: State = {}
    for key, tensor in state.items():
        first, _, rest = key.partition(".")
        numbered |= {} if first == "fc" else {f"backbone.{numbers[first]}.{rest}": tensor}
    tensors = find_pretrained("resnet50", save(numbered), SIZE)[0]
    assert len(tensors) == len(numbered) and all(torch.equal(t, state[key[8:]]) for key, t in tensors.items())


def test_plain_data_beside_tensors_is_harmless(body: State, save: Callable[[Any], str]) -> None:
    beside = {
        "best": np.float64(0.7),
        "step": np.int64(3),
        "name": np.str_("a"),
        "loss": np.ones(3, np.float32),
        "place": PosixPath("/runs"),
        "args": argparse.Namespace(lr=np.float32(0.1), folder=PosixPath("/data")),
    }
    assert taken_from(save({"model": body, **beside}), body)["prefix"] == "model."


class FromWindows:
    """Pickled as a path of Windows is, which cannot be built on other systems."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return FromWindows, ("C:/runs",)


FromWindows.__module__, FromWindows.__qualname__ = "pathlib", "WindowsPath"


def test_windows_paths_are_harmless(body: State, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pathlib.WindowsPath", FromWindows)
        torch.save({"model": body, "place": FromWindows()}, tmp_path / "w.pth")
    assert b"pathlib\nWindowsPath" in zipfile.ZipFile(tmp_path / "w.pth").read("w/data.pkl")
    assert taken_from(str(tmp_path / "w.pth"), body)["prefix"] == "model."


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float, body: State, save: Callable[[Any], str]) -> None:
    broken = {key: tensor.clone() for key, tensor in body.items()}
    broken["layer2.0.conv1.weight"][0, 0] = bad
    with pytest.raises(UserError, match=r"not finite(?s:.*)in 1 of 120 tensors: layer2.0.conv1.weight") as error:
        find_pretrained(NAME, save(broken), SIZE)
    assert "w.pth" in str(error.value)


def test_safetensors_and_torch_files_are_known_by_content(body: State, tmp_path: Path) -> None:
    save_file(body, tmp_path / "w.pth")
    torch.save(body, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        taken_from(str(tmp_path / name), body)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 102400000\n", ["Git LFS", "git lfs pull"]),
        (b"<!DOCTYPE html><html>Virus scan warning</html>", ["a web page", "download it again"]),
        (b"\n<?xml version='1.0'?><Error>AccessDenied</Error>", ["a web page", "sign-in"]),
        (b'{"error": "not found"}', ["JSON"]),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), ["Keras", "PyTorch release"]),
        (b"", ["an empty file"]),
        (b"\x1f\x8b" + bytes(100), ["archive (gzip)", "unpack it"]),
        (b"hello", ["no file that torch.save wrote"]),
    ],
)
def test_files_that_are_no_weights_are_named(content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    refused(tmp_path / "w.pth", words)


def refused(path: Path, words: list[str], name: str = NAME) -> None:
    with pytest.raises(UserError) as error:
        find_pretrained(name, str(path), SIZE)
    for word in [*words, str(path), "found:", "expected:", "next:"]:
        assert word in str(error.value)
    for unsafe in ("weights_only", "add_safe_globals", "trust the source"):  # torch's own advice
        assert unsafe not in str(error.value)


def test_other_zip_files_are_named(tmp_path: Path, state: State) -> None:
    refused(tmp_path, ["a folder"])
    refused(tmp_path / "none.pth", ["no such file"])
    arrays: dict[str, Any] = {key: tensor.numpy() for key, tensor in state.items()}
    np.savez(tmp_path / "w.npz", **arrays)
    refused(tmp_path / "w.npz", ["NumPy"])
    for entry, words in {"model.weights.h5": ["Keras"], "runs/best.pth": ["archive (zip)", "unpack"]}.items():
        with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
            archive.writestr(entry, "x")
        refused(tmp_path / "w.zip", words)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_programs_and_pickled_models_are_refused_with_the_way_to_their_tensors(tmp_path: Path) -> None:
    network = timm.create_model(NAME)
    torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))).save(tmp_path / "w.pt")
    refused(tmp_path / "w.pt", ["TorchScript", "torch.jit.load('w.pt', map_location='cpu').state_dict()"])
    for old in (False, True):
        content = {"model": network, "epoch": 3}
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
        refused(tmp_path / "w.pth", ["timm.models.resnet.ResNet", "torch.save(model.state_dict(), 'weights.pth')"])


def test_weights_of_other_families_are_named(tmp_path: Path, state: State) -> None:
    vit, many = "vit_tiny_patch16_224", range(12)
    families = {
        "3-D network": (
            NAME,
            {key: tensor[..., None] if tensor.ndim == 4 else tensor for key, tensor in state.items()},
        ),
        "Hugging Face": (
            vit,
            {f"vit.encoder.layer.{i}.attention.attention.query.weight": torch.ones(3, 3) for i in many},
        ),
        "torchvision": (vit, {f"encoder.layers.encoder_layer_{i}.mlp.0.weight": torch.ones(3, 3) for i in many}),
        "torchvision, which": ("convnext_atto", {f"features.{i}.0.weight": torch.ones(3, 3) for i in many}),
        "nnU-Net": (NAME, {f"encoder.stages.{i}.0.convs.0.conv.weight": torch.ones(3, 3, 3, 3) for i in many}),
    }
    for words, (name, tensors) in families.items():
        torch.save({"state_dict": tensors}, tmp_path / "w.pth")
        refused(tmp_path / "w.pth", ["do not fit", words], name)


@pytest.mark.slow
def test_weights_of_sam_name_their_image_size(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = timm.create_model("samvit_base_patch16").state_dict()
    save_file({key: torch.zeros(tensor.shape) for key, tensor in shapes.items()}, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", ["images of 1024 pixels", "set image_size: 1024"], "samvit_base_patch16")


@pytest.mark.slow
def test_adopted_weights_say_in_their_card_where_they_were_found(
    body: State, save: Callable[[Any], str], tmp_path: Path
) -> None:
    path = save({"student": below("net.", body, shift=1), "teacher": below("net.", body)})
    job: dict[str, Any] = {
        "weights": tmp_path / "out/epoch9.safetensors",
        "source": path,
        "sha256": "0",
        "epochs": 9,
        "image_size": SIZE,
    }
    encoder = {"architecture": f"timm/{NAME}"}
    with pytest.raises(UserError, match="several sets of weights fit"):
        adopt_weights(encoder=encoder, **job)
    adopt_weights(encoder=encoder | {"part": "teacher"}, **job)
    taken = read_json(tmp_path / "out/epoch9.json")["taken"]
    assert taken == {"prefix": "teacher.net.", "ignored": {"student": 120}, "filled": 0, "grey": []}
    network = build_encoder(encoder, use="simple", image_size=SIZE)
    load_encoder(network, job["weights"])
    assert torch.equal(network.state_dict()["network.conv1.weight"], body["conv1.weight"])
