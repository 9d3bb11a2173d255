"""Inputs belong to weights: what the config names is applied, what is not known is asked, what is wrong is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from torch import Tensor

from tests.real_weights import LITE, lite_state
from workflow.lib.job.run import UserError, read_json
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.networks.inputs import inputs_text, weights_inputs
from workflow.lib.networks.norms import calibrate
from workflow.lib.networks.pyramid import TimmEncoder
from workflow.lib.networks.sanity import check_inputs_known, check_statistics, generated_images, shift_of
from workflow.lib.pretrain.released import adopt_weights
from workflow.lib.study.config import check_config

SIZE = 64
ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def adopted(folder: Path, name: str, state: dict[str, Tensor], **entry: Any) -> dict[str, Any]:
    """The card of the checkpoint made of a file with `state`, for an encoder of the config."""
    torch.save(state, folder / "w.pth")
    encoder = {"architecture": f"timm/{name}", **entry}
    encoder = {"architecture": f"timm/{name}"} | weights_inputs("e", encoder)
    job: dict[str, Any] = {"source": str(folder / "w.pth"), "sha256": "0", "epochs": 9, "image_size": SIZE}
    adopt_weights(weights=folder / "out/epoch9.safetensors", encoder=encoder, **job)
    return read_json(folder / "out/epoch9.json")


def test_inputs_of_the_config() -> None:
    of = {"architecture": "timm/resnet18"}
    assert weights_inputs("e", of) == {}
    assert weights_inputs("e", of | {"mean": 0.5, "std": 0.25}) == {"mean": [0.5] * 3, "std": [0.25] * 3}
    in_255 = weights_inputs("e", of | {"mean": [51, 102, 0], "std": 255, "range": 255})
    assert in_255 == {"mean": [0.2, 0.4, 0], "std": [1] * 3}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"mean": 0.5}, "both mean and std"),
        ({"range": 255}, "both mean and std"),
        ({"mean": 0.5, "std": 0.5, "architecture": "unet"}, "with architecture timm"),
        ({"mean": 127.5, "std": 127.5}, "range: 255"),
    ],
)
def test_inputs_that_cannot_be_applied_are_refused(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        weights_inputs("e", {"architecture": "timm/resnet18"} | entry)


def test_inputs_are_applied_and_told() -> None:
    settings = {"architecture": "timm/resnet18"}
    images, networks = torch.rand(2, 3, SIZE, SIZE), []
    for given in ({}, {"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.5, 1.0]}):
        torch.manual_seed(1)
        networks.append(build_encoder(settings | given, use="simple", image_size=SIZE).eval())
    plain, own = networks
    raw = (images - torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)) / torch.tensor([0.5, 0.5, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(own(images)[-1], plain.get_submodule("network")(raw)[-1])
    assert inputs_text(own, "unchanged") == "images in 0..1, then mean 0.5 0.25 0, SD 0.5 0.5 1"
    assert (
        inputs_text(plain, "standardised") == "standardised images, then mean 0.485 0.456 0.406, SD 0.229 0.224 0.225"
    )
    assert (
        inputs_text(build_encoder({"architecture": "unet", "width": 4}, use="simple"), "unchanged") == "images in 0..1"
    )


@pytest.mark.slow
def test_a_name_whose_weights_differ_in_their_inputs_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which inputs these weights were made for") as error:
        check_inputs_known("vit_base_patch16_224")
    for word in ("mean 0.5 0.5 0.5, std 0.5 0.5 0.5: ", "vit_base_patch16_224.mae", "`mean` and `std`", "next:"):
        assert word in str(error.value)
    for name in ("vit_base_patch16_224.mae", "resnet18", "convnext_atto"):
        check_inputs_known(name)
    state = timm.create_model("resnet34").state_dict()  # some were trained with 0.5
    with pytest.raises(UserError, match="resnet34.tv_in1k"):
        adopted(tmp_path, "resnet34", state)
    assert adopted(tmp_path, "resnet34", state, mean=0.5, std=0.5)["encoder"]["mean"] == [0.5] * 3
    adopted(tmp_path, "resnet34.tv_in1k", state)


def test_weights_of_one_channel_are_the_same_network_on_grey_images(tmp_path: Path) -> None:
    grey = timm.create_model("resnet18", in_chans=1, features_only=True).eval()
    with pytest.raises(UserError, match="one channel, whose inputs are not known"):
        adopted(tmp_path, "resnet18", grey.state_dict())
    card = adopted(tmp_path, "resnet18", grey.state_dict(), mean=0.2, std=0.5)
    assert card["taken"]["grey"] == ["conv1.weight"]
    encoder = build_encoder(card["encoder"], use="simple", image_size=SIZE).eval()
    load_encoder(encoder, tmp_path / "out/epoch9.safetensors")
    images = torch.rand(2, 1, SIZE, SIZE)
    torch.testing.assert_close(
        encoder(images.expand(-1, 3, -1, -1))[-1], grey((images - 0.2) / 0.5)[-1], rtol=1e-3, atol=1e-4
    )
    with pytest.raises(UserError, match="images of 4 channels"):
        adopted(tmp_path, "resnet18", timm.create_model("resnet18", in_chans=4).state_dict(), mean=0.2, std=0.5)


@pytest.mark.slow
def test_inputs_of_another_range_are_noticed_by_batch_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("resnet18", SIZE)
    calibrate(encoder, [generated_images(8, 128)])
    state = encoder.network.state_dict()
    card = adopted(tmp_path, "resnet18", state)
    assert card["shift"].keys() == {"resnet18"} and card["shift"]["resnet18"] < 0.3
    with pytest.raises(UserError, match="inputs of another range(?s:.*)`range`"):
        adopted(tmp_path, "resnet18", state, mean=0, std=1, range=255)
    adopted(tmp_path, "resnet18", state, mean=0, std=1)  # wrong by a factor of 4: not noticed


def test_networks_without_batch_norm_are_not_checked(tmp_path: Path) -> None:
    assert adopted(tmp_path, "convnext_atto", timm.create_model("convnext_atto").state_dict())["shift"] == {}
    assert read_json(tmp_path / "out/epoch9.json")["licence"] is None


@pytest.mark.slow
@pytest.mark.parametrize("lite", LITE)
def test_real_weights_under_the_name_of_their_twin_are_noticed(lite: int, tmp_path: Path) -> None:
    right, wrong = f"tf_efficientnet_lite{lite}", f"efficientnet_lite{lite}"
    state, inputs = lite_state(lite), {"mean": 0.5, "std": 0.5}
    shift = adopted(tmp_path, right, state, **inputs)["shift"]
    assert 1.2 < shift[wrong] / shift[right] < 1.3  # the numbers of docs/rank.md
    with pytest.raises(UserError, match=f"another network of timm's better(?s:.*)name timm/{right}"):
        adopted(tmp_path, wrong, state, **inputs)
    with pytest.raises(UserError, match="inputs of another range"):
        adopted(tmp_path, right, state, mean=0, std=1, range=255)


def test_a_name_with_its_tag_is_taken_at_its_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adopted(tmp_path, "efficientnet_lite0.ra_in1k", lite_state(0), mean=0.5, std=0.5)
    assert "by 0.061 in timm/tf_efficientnet_lite0: the latter may be" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0"])
def test_either_twin_is_known_by_its_own_statistics(name: str) -> None:
    encoder = TimmEncoder(name, SIZE, [0.5] * 3, [0.5] * 3)
    encoder.network.load_state_dict(
        {key.replace(".", "_", 1): value for key, value in lite_state(0).items()}, strict=False
    )
    images = generated_images(16, 224).flip(3)
    calibrate(encoder, images.split(8))
    shift = check_statistics(name, encoder, SIZE)
    assert len(shift) == 2 and min(shift, key=shift.__getitem__) == name


def test_the_check_leaves_the_network_as_it_is() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("resnet18", SIZE)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    outputs: Callable[[], Tensor] = lambda: encoder.eval()(generated_images(2, SIZE))[-1]  # noqa: E731
    expected = outputs()
    assert encoder.train() and shift_of(encoder, generated_images(2, SIZE)) and encoder.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())
    assert torch.equal(outputs(), expected)


def test_part_needs_a_file_of_weights() -> None:
    encoders = {"a": {"architecture": "timm/resnet18", "network": "a", "part": "teacher"}}
    with pytest.raises(UserError, match="encoders.a(?s:.*)part"):
        check_config(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"encoders": encoders}, SCHEMA)
