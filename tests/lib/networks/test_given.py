"""Given segmentation networks as starts of fine-tuning: all weights but the last layer's, which fits the target."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet

from workflow.lib.job.run import UserError
from workflow.lib.networks.given import starting_network


@pytest.fixture
def network(tmp_path: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    torch.save({"net": BasicUNet(2, 1, 3, (4,) * 6).state_dict()}, tmp_path / "net.pt")
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "features": [4] * 6}
    return {"class": "monai.networks.nets.BasicUNet", "arguments": arguments, "head": "final_conv", "channels": 1}


def test_all_weights_are_taken_but_those_of_the_head(network: dict[str, Any], tmp_path: Path) -> None:
    given = torch.load(tmp_path / "net.pt", weights_only=True)["net"]
    first, again, other = (starting_network(network, tmp_path / "net.pt", 1, seed, 32) for seed in (1, 1, 2))
    tensors = {name.removeprefix("network."): tensor for name, tensor in first.state_dict().items()}
    same = {name for name in given if tensors[name].shape == given[name].shape and tensors[name].equal(given[name])}
    assert given.keys() - same == {"final_conv.weight", "final_conv.bias"}
    head = "network.final_conv.weight"
    assert first.state_dict()[head].equal(again.state_dict()[head]), "drawn from the seed"
    assert not first.state_dict()[head].equal(other.state_dict()[head])
    images = torch.rand(2, 3, 32, 32)
    logits = first.eval()(images)
    assert logits.shape == (2, 1, 32, 32) and first.training is False
    assert logits.allclose(first(images.mean(1, keepdim=True).expand(-1, 3, -1, -1)), atol=1e-5), "it sees grey images"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"head": "last"}, ["no such last layer", "last: no module", "final_conv"]),
        ({"head": "conv_0"}, ["no such last layer", "conv_0: TwoConv"]),
        ({"head": "conv_0.conv_0.conv"}, ["does not segment windows", "channels"]),
    ],
)
def test_a_head_that_is_none_is_named(
    network: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        starting_network(network | change, tmp_path / "net.pt", 1, 0, 32)
    assert all(word in str(error.value) for word in words)
