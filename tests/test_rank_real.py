"""`snakemake rank` with real ImageNet weights on real fundus photographs: the table of docs/rank.md."""

import tarfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.real_weights import LITE, save_lite
from tests.workflow_copy import copy_project, snakemake

OWN, IMAGENET = {"mean": 0.5, "std": 0.5}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def encoder(lite: int, name: str, **entry: object) -> dict[str, object]:
    return {
        "architecture": f"timm/{name}",
        "network": "U-Net",
        "weights": f"weights/lite{lite}.pth",
        "epochs": 350,
    } | entry


CANDIDATES = {f"lite{lite}": encoder(lite, f"tf_efficientnet_lite{lite}", **OWN) for lite in LITE} | {
    "near-name": encoder(0, "efficientnet_lite0.ra_in1k", **OWN),
    "other-mean": encoder(0, "tf_efficientnet_lite0.in1k", **IMAGENET),
    "no-mean": encoder(0, "tf_efficientnet_lite0.in1k", mean=0, std=1),
}


@pytest.fixture(scope="module")
def ranking(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, str, str]:
    """ranking.csv by candidate, answer.txt, and what Snakemake said."""
    archives = [reference / f"realdata/fundus_{name}.tar" for name in ("chasedb1", "more")]
    if not all(archive.is_file() for archive in archives):
        pytest.skip(f"no real fundus photographs: {archives[0]} is absent (set MEDSEG_REFERENCE)")
    folder = copy_project(tmp_path_factory.mktemp("real") / "p")
    for archive in archives:
        with tarfile.open(archive) as content:
            content.extractall(folder / "raw", filter="data")
    for part in ("images", "masks"):
        for path in (folder / "raw/fundus_more" / part).iterdir():
            path.rename(folder / "raw/fundus_chasedb1" / part / path.name)
    save_lite(folder / "weights")
    target = {"layout": "folder", "folder": "raw/fundus_chasedb1", "classes": ["vessel"]}
    config = {
        "run": "real",
        "study": {"encoders": list(CANDIDATES), "targets": ["fundus"]},
        "encoders": CANDIDATES,
        "targets": {"fundus": target | {"group": {"pattern": r"^Image_(\d+)"}}},
        "score": {"scores": ["probe_all", "robustness_sound", "imagenet_accuracy"]},
        "rank": {"default": "lite0"},
    }
    (folder / "real.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    settings = ["--profile", "profiles/laptop", "--configfile", "configs/rank.yaml", "real.yaml"]
    run = snakemake(folder, "rank", *settings, MEDSEG_IMAGES="unused")
    assert run.returncode == 0, run.stdout[-4000:]
    place = folder / "results/real/rank/fundus"
    return pd.read_csv(place / "ranking.csv").set_index("candidate"), (place / "answer.txt").read_text(), run.stdout


@pytest.mark.slow
def test_pretrained_beats_random(ranking: tuple[pd.DataFrame, str, str]) -> None:
    table, words, _ = ranking
    random = table.index.str.endswith("random weights")
    assert random.sum() == 4 and table[random]["place"].min() > table[~random]["place"].max()
    assert (table[random]["gain_high"] < -0.1).all()  # of the default, lite0
    assert "take the default, lite0" in words


@pytest.mark.slow
def test_a_near_name_loses_really_and_is_warned_of(ranking: tuple[pd.DataFrame, str, str]) -> None:
    table, _, said = ranking
    near = table.loc["near-name, pretrained, 350 epochs"]
    assert near["gain_high"] < 0 and not near["undecided"]
    assert "timm/tf_efficientnet_lite0: the latter may be the network of these weights" in said


@pytest.mark.slow
def test_inputs_are_told(ranking: tuple[pd.DataFrame, str, str]) -> None:
    table, words, _ = ranking
    shown = {name.partition(",")[0]: text for name, text in table["inputs"].items() if "pretrained" in name}
    assert shown["lite0"] == shown["lite2"] == "images in 0..1, then mean 0.5 0.5 0.5, SD 0.5 0.5 0.5"
    assert shown["no-mean"] == "images in 0..1, then mean 0 0 0, SD 1 1 1"
    assert f"{shown['no-mean']} (no-mean)" in words and f"{shown['lite0']} (lite0, lite1, lite2, near-name)" in words
