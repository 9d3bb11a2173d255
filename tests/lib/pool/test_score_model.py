"""Scores of segmentation networks from their decoders: our own, and any class, in 2-D and 3-D."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.lib.finetune.test_finetune import prepared
from workflow.lib.data.prepared import load_prepared
from workflow.lib.job.run import UserError, read_json, write_json
from workflow.lib.networks.build import build_classifier, build_segmenter
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.pool.score_model import as_volumes, own_network, score_model
from workflow.lib.score.decoder import decoder_layers
from workflow.lib.score.pixels import PADDING

ENCODER = {"architecture": "unet", "width": 4}


class Pixels(nn.Module):
    """Logits that are the input, behind a layer whose features show the classes as well as `clear` says."""

    def __init__(self, clear: float = 1.0, flat: bool = False) -> None:
        super().__init__()
        self.stage = nn.Conv2d(1, 4, 1)
        self.head = nn.Conv2d(4, 1, 1)
        self.flat = flat
        with torch.no_grad():
            self.stage.weight.mul_(clear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.stage(x))
        return found.mean(dim=(2, 3)) if self.flat else found


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage, self.head = nn.Conv3d(1, 4, 1), nn.Conv3d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.stage(x))
        return found


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Bright squares on noise; three patients of two slices each are trained on."""
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 60, (8, 1, 16, 16)).astype(np.uint8), np.zeros((8, 16, 16), np.uint8)
    masks[:, 4:10, 5:12] = 1
    images[:, 0][masks > 0] += 150
    folder = prepared(tmp_path / "data", images, masks, ["train"] * 6 + ["validation", "test"])
    items = pd.read_csv(folder / "items.csv")
    items["case"] = items["group"] = [f"p{i // 2}" for i in range(8)]
    items.to_csv(folder / "items.csv", index=False)
    write_checkpoint(build_segmenter(ENCODER, 3, use="simple", seed=1), tmp_path / "own.safetensors", {"epoch": 1})
    return {
        "data_folder": folder,
        "weights": tmp_path / "own.safetensors",
        "output": tmp_path / "scores.csv",
        "names": {"target": "squares", "model": "m", "pretrain_seed": "1"},
        "network": {"encoder": ENCODER},
        "images": 6,
        "pixels": 200,
        "components": 8,
        "seed": 0,
        "inputs": "standardised",
        "device": "cpu",
        "threads": 1,
    }


def given(job: dict[str, Any], network: nn.Module, tmp_path: Path, **settings: Any) -> dict[str, Any]:
    torch.save(network.state_dict(), tmp_path / "given.pt")
    name = f"tests.lib.pool.test_score_model.{type(network).__name__}"
    usual = {"class": name, "arguments": {}, "modules": ["stage"], "dimensions": 2, "window": [16, 16], "channels": 1}
    return job | {"weights": tmp_path / "given.pt", "network": usual | settings}


def value(job: dict[str, Any], score: str) -> float:
    score_model(**job)
    table = pd.read_csv(job["output"])
    return float(table.loc[table["score"] == score, "value"].iloc[-1])


def test_every_stage_of_our_decoder_is_scored(job: dict[str, Any]) -> None:
    score_model(**job)
    table = pd.read_csv(job["output"])
    assert set(table["target"]) == {"squares"} and set(table["level"].dropna()) == {1, 2, 3}
    assert {"cc_fv_published", "cc_fv_code", "knn", "probe", "logme"} <= set(table["score"])
    assert table.loc[table["score"] == "knn", "value"].between(0.5, 1).all(), (
        "the squares are bright: any features show them"
    )
    once = job["output"].read_bytes()
    score_model(**job)
    assert job["output"].read_bytes() == once


def test_the_stages_of_a_swin_decoder_are_maps_too(job: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 255, (5, 1, 64, 64)).astype(np.uint8), np.zeros((5, 64, 64), np.uint8)
    masks[:, 16:40, 20:48] = 1
    folder = prepared(tmp_path / "large", images, masks, ["train"] * 3 + ["validation", "test"])
    write_json(folder / "card.json", read_json(folder / "card.json") | {"image_size": 64})
    encoder = {"architecture": "swin", "width": 24, "window": 7}
    network = build_segmenter(encoder, 2, use="simple", seed=1, image_size=64)
    weights = tmp_path / "swin.safetensors"
    write_checkpoint(network, weights, {"epoch": 1})
    score_model(**job | {"data_folder": folder, "weights": weights, "network": {"encoder": encoder}, "images": 3})
    table = pd.read_csv(job["output"])
    assert set(table["level"].dropna()) == {1, 2, 3} and table.loc[table["score"] == "knn", "value"].notna().all()
    model, stages = own_network(encoder, weights, 64)
    picture = [torch.rand(3, 64, 64)]
    layers = decoder_layers(
        model, stages, picture, [masks[0]], window=[64, 64], points=[9] * 3, seed=0, channels_last=True
    )
    assert [layer[0][1].shape for layer in layers] == [(9, 96), (9, 48), (9, 24)]


def test_a_network_whose_features_show_nothing_scores_lower(job: dict[str, Any], tmp_path: Path) -> None:
    network = Pixels()
    good = value(given(job, network, tmp_path), "knn")
    with torch.no_grad():
        network.stage.weight.mul_(0)
    job = given(job, network, tmp_path)
    score_model(**job)
    table = pd.read_csv(job["output"]).set_index("score")
    assert good > 0.95 and not table.loc["knn", "value"] > 0.6
    assert "two points" in table.loc["cc_fv_published", "warning"], "all points are equal, and one of an image is left"


def test_volumes_are_scored_by_networks_in_three_dimensions(job: dict[str, Any], tmp_path: Path) -> None:
    job = given(job, Volume(), tmp_path, dimensions=3, window=[2, 16, 16])
    assert value(job, "knn") > 0.9
    assert np.isfinite(value(job, "cc_fv_code"))


def test_padding_of_volumes_is_neither_background_nor_part_of_their_mean(job: dict[str, Any]) -> None:
    items = pd.read_csv(job["data_folder"] / "items.csv")
    items.assign(top=2, left=3, height=10, width=12).to_csv(job["data_folder"] / "items.csv", index=False)
    data = load_prepared(job["data_folder"])
    volumes, masks, _ = as_volumes(data)
    for volume, mask in zip(volumes, masks, strict=True):
        assert (mask == PADDING).sum() == 2 * (16 * 16 - 10 * 12) and set(np.unique(mask)) == {0, 1, PADDING}
        shown = volume[0].numpy()[mask != PADDING]
        assert shown.mean() == pytest.approx(0, abs=1e-3) and shown.std() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class": "monai.networks.nets.Nonsense"}, "cannot be built"),
        ({"class": "nowhere.Net"}, "No module named 'nowhere'"),
        ({"arguments": {"depth": 3}}, "cannot be built"),
        ({"arguments": {"flat": True}}, "does not segment windows"),
        ({"channels": 3}, "does not segment windows"),
        ({"modules": ["stages"]}, "no such module"),
    ],
)
def test_what_is_no_such_network_is_refused(
    settings: dict[str, Any], words: str, job: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as error:
        score_model(**given(job, Pixels(), tmp_path, **settings))
    assert "next:" in str(error.value) and not job["output"].exists()


def test_weights_below_a_wrapper_are_found(job: dict[str, Any], tmp_path: Path) -> None:
    network = Pixels()
    job = given(job, network, tmp_path)
    plain = value(job, "knn")
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}}
    torch.save(wrapped, job["weights"])
    assert value(job, "knn") == plain


def test_weights_that_fit_half_of_it_are_refused(job: dict[str, Any], tmp_path: Path) -> None:
    job = given(job, Pixels(), tmp_path)
    torch.save({"stage.weight": torch.zeros(4, 1, 1, 1), "stage.bias": torch.zeros(4)}, job["weights"])
    with pytest.raises(UserError, match="weights do not fit") as error:
        score_model(**job)
    assert "missing head.bias" in str(error.value)
    write_checkpoint(build_classifier(ENCODER, 3, use="simple", seed=1), tmp_path / "own.safetensors", {"epoch": 1})
    with pytest.raises(UserError, match="a pool holds networks with a decoder"):
        score_model(**job | {"weights": tmp_path / "own.safetensors", "network": {"encoder": ENCODER}})
