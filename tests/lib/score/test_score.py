"""The score job: all scores of a checkpoint from one pass, at pixels that are the same for every checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.lib.finetune.test_finetune import ENCODER, job  # noqa: F401  (a fixture)
from workflow.lib.data.prepared import load_prepared
from workflow.lib.job.run import read_json
from workflow.lib.networks.build import build_classifier
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.score.applies import reduced
from workflow.lib.score.label_scores import features_at
from workflow.lib.score.pixels import at_pixels, choose, sample_pixels, shares, target_images
from workflow.lib.score.probe import probe, probe_by_group
from workflow.lib.score.registry import SCORES
from workflow.lib.score.score import score_checkpoints

ROOT = Path(__file__).parents[3]


@pytest.fixture
def call(job: dict[str, Any], tmp_path: Path) -> dict[str, Any]:  # noqa: F811
    keep = {name: job[name] for name in ("data_folder", "weights", "encoder", "inputs", "device", "threads")}
    sizes = {"images": 6, "draws": 2, "pixels": 120, "samples": 2, "components": 8, "seed": 0}
    return (
        keep
        | sizes
        | {
            "target": "squares",
            "checkpoints": [("unet", "simple", 5, 3)],
            "scores": list(SCORES),
            "output": tmp_path / "scores.csv",
            "by_group": tmp_path / "by_group.json",
        }
    )


def test_every_score_has_a_value_or_a_reason(call: dict[str, Any]) -> None:
    score_checkpoints(**call)
    table = pd.read_csv(call["output"])
    assert set(table["score"]) == set(SCORES)
    assert (table["value"].notna() | table["warning"].notna()).all()
    known = table[table["value"].notna()]
    assert set(known["score"]) == set(SCORES), "all apply to this target"
    pixels = known[known["sample"].notna()]
    assert set(pixels["sample"]) == {"balanced", "natural"} and (pixels["draws"] == 2).all()
    assert (pixels["ci_low"] <= pixels["value"]).all() and (pixels["value"] <= pixels["ci_high"]).all()
    assert pixels["seconds"].ge(0).all()
    assert set(known.loc[known["score"] == "logme", "level"]) == {1, 2, 3, 4, 5}
    assert known.loc[known["score"] == "imagenet_accuracy", "value"].tolist() == [0.4]


@pytest.mark.slow
def test_the_same_pixels_and_numbers_for_the_same_seed(call: dict[str, Any], tmp_path: Path) -> None:
    score_checkpoints(**call)
    score_checkpoints(**call | {"output": tmp_path / "again.csv"})
    one, two = (pd.read_csv(path).drop(columns="seconds") for path in (call["output"], tmp_path / "again.csv"))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.slow
def test_checkpoints_of_one_job_have_the_numbers_of_jobs_of_their_own(call: dict[str, Any], tmp_path: Path) -> None:
    other = tmp_path / "epoch4.safetensors"
    write_checkpoint(build_classifier(ENCODER, 10, use="simple", seed=2), other, {"epoch": 4, "accuracy": 0.5})
    both = [("unet", "simple", 5, 3), ("unet", "simple", 5, 4)]
    score_checkpoints(**call | {"weights": [*call["weights"], other], "checkpoints": both})
    together, facts = pd.read_csv(call["output"]), read_json(call["by_group"])
    assert list(facts) == ["unet/simple/seed5/epoch3", "unet/simple/seed5/epoch4"]
    score_checkpoints(**call | {"weights": [other], "checkpoints": both[1:]})
    alone = pd.read_csv(call["output"]).drop(columns="seconds")
    same = together[together["epochs"] == 4].drop(columns="seconds").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone)
    assert (
        read_json(call["by_group"])["unet/simple/seed5/epoch4"]["values"] == facts["unet/simple/seed5/epoch4"]["values"]
    )


def test_scores_of_the_target_do_not_depend_on_stored_batch_norm_statistics(call: dict[str, Any]) -> None:
    """The same weights with the statistics of other images: fine-tuning replaces them, and so do the scores."""
    call |= {"scores": ["robustness", "robustness_sound", "logme", "probe_all", "probe_all_stored"], "samples": 1}
    found = []
    for shift in (0.0, -0.3):
        tensors = {
            name: tensor + shift if name.endswith("running_mean") else tensor
            for name, tensor in load_file(call["weights"][0]).items()
        }
        _write(tensors, call["weights"][0])
        score_checkpoints(**call)
        table = pd.read_csv(call["output"]).fillna({"sample": "", "metric": ""})
        found.append(table.set_index(["score", "sample", "metric", "margin", "pooled", "level"])["value"])
    moved = (found[0] - found[1]).abs().groupby("score").max()
    assert (moved[["robustness_sound", "logme", "probe_all"]] == 0).all()
    assert (moved[["robustness", "probe_all_stored"]] > 1e-3).all()


def test_values_of_patients_average_to_the_score(call: dict[str, Any]) -> None:
    score_checkpoints(**call)
    facts, table = read_json(call["by_group"])["unet/simple/seed5/epoch3"], pd.read_csv(call["output"])
    assert sum(facts["groups"].values()) == 6 and facts["seconds"] > 0 and facts["missing"] == {}
    values = {name: [by_group[group] for group in facts["groups"]] for name, by_group in facts["values"].items()}
    probe = table[(table["score"] == "probe_all") & (table["sample"] == "balanced")]
    assert np.mean(values["probe_all"]) == pytest.approx(probe["value"].item())
    robust = table[
        (table["score"] == "robustness_sound") & (table["metric"] == "cosine_distance") & (table["margin"] == 0.5)
    ]
    robust = robust[(robust["pooled"] == True) & (robust["level"] == 5)]  # noqa: E712
    assert np.average(values["robustness_sound"], weights=list(facts["groups"].values())) == pytest.approx(
        robust["value"].item()
    )


def test_without_masks_label_scores_say_so(call: dict[str, Any]) -> None:
    path = call["data_folder"] / "card.json"
    path.write_text(path.read_text().replace('"square"', ""))
    score_checkpoints(**call)
    table = pd.read_csv(call["output"]).set_index("score")
    assert "no masks" in table.loc["logme", "warning"] and np.isnan(table.loc["logme", "value"])
    assert table.loc["robustness_sound", "value"].notna().all()
    facts = read_json(call["by_group"])["unet/simple/seed5/epoch3"]
    assert list(facts["values"]) == ["robustness_sound"] and "no masks" in facts["missing"]["probe_all"]


def test_without_the_source_classifier_leep_says_so(call: dict[str, Any]) -> None:
    tensors = load_file(call["weights"][0])
    _write({name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}, call["weights"][0])
    score_checkpoints(**call)
    table = pd.read_csv(call["output"]).set_index("score")
    assert table.loc["leep", "warning"].str.contains("source's classifier").all()


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """A checkpoint of these tensors."""
    network: Any = torch.nn.Module()
    network.state_dict = lambda: tensors
    network.parameters = lambda: iter(tensors.values())
    write_checkpoint(network, path, {"epoch": 3, "accuracy": 0.4})


def test_a_natural_sample_has_every_image_and_a_balanced_one_every_class() -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((5, 16, 16)) < 0.05).astype(np.uint8)
    masks[3] = 0  # an image without the class
    masks[0, 0, 0] = 2  # and one pixel of a class
    groups = np.array(list("abcde"))
    natural = sample_pixels(masks, groups, 100, "natural", 1)
    balanced = sample_pixels(masks, groups, 61, "balanced", 1)
    assert np.bincount(natural.image).tolist() == [20] * 5
    assert np.bincount(balanced.label).tolist() == [30, 30, 1], "what a class lacks, the others give"
    assert 3 not in balanced.image[balanced.label == 1]
    for pixels in (natural, balanced):
        assert (np.diff(pixels.image) >= 0).all() and (pixels.group == groups[pixels.image]).all()
        rows, columns = (pixels.y * 16).astype(int), (pixels.x * 16).astype(int)
        assert (masks[pixels.image, rows, columns] == pixels.label).all()
        assert len({*zip(pixels.image, rows, columns, strict=True)}) == len(rows), "no repeats"


def test_what_some_images_lack_of_a_class_others_give() -> None:
    """A patient of twenty slices and two of one, where most lesions are small: still as many pixels of each patient."""
    masks = np.zeros((22, 16, 16), np.uint8)
    masks[:19, 0, 0] = 1
    masks[19:, :8] = 1
    groups = np.array(["a"] * 20 + ["b", "c"])
    pixels = sample_pixels(masks, groups, 600, "balanced", 0)
    assert np.bincount(pixels.label).tolist() == [300, 300]
    for label in (0, 1):
        counts = pd.Series(pixels.group[pixels.label == label]).value_counts()
        assert counts.to_dict() == {"a": 100, "b": 100, "c": 100}


def test_shares_are_even_and_complete() -> None:
    assert shares(10, np.array([1, 9, 9])).tolist() == [1, 5, 4]
    assert shares(100, np.array([3, 4])).tolist() == [3, 4]
    assert shares(2, np.array([5, 5, 5])).tolist() == [1, 1, 0]


def test_images_are_chosen_by_patient_and_show_every_class() -> None:
    """Ten patients of twenty slices, of which a tenth shows one class, and two patients another. Drawn at random, 32 slices
    show three or so, and in one of seven draws a class that is not in two patients can't be probed."""
    groups = np.repeat(np.arange(10), 20)
    slices = np.tile(np.arange(20), 10)
    shown = np.stack([(slices >= 9) & (slices < 11), (slices == 4) & (groups > 7)], axis=1)
    for seed in range(20):
        chosen = choose(shown, groups, 32, np.random.default_rng(seed))
        assert len(set(chosen)) == 32 and np.bincount(groups[chosen], minlength=10).min() >= 2
        assert shown[chosen, 0].sum() >= 10 and shown[chosen, 1].sum() == 2
    assert sorted(choose(shown[:5], groups[:5], 9, np.random.default_rng(0))) == [0, 1, 2, 3, 4]
    unlabelled = choose(shown[:, :0], groups, 10, np.random.default_rng(0))
    assert sorted(groups[unlabelled]) == list(range(10))


def test_patients_count_by_what_they_can_say() -> None:
    """Of a class that only some patients show: those without it have fewer pixels, and weigh less."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 30)
    labels = np.where(groups < 4, np.arange(240) % 3 > 0, 0)
    few = (groups < 4) | (np.arange(240) % 3 == 0)
    x = rng.normal(size=(240, 4)) + labels[:, None]
    values = probe_by_group([x[few]], labels[few], groups[few], seed=0)
    assert np.mean(list(values.values())) == pytest.approx(probe(x[few], labels[few], groups[few], seed=0))
    assert max(values[str(g)] for g in range(4)) < min(values[str(g)] for g in range(4, 8))


def test_features_are_those_of_the_cell_of_the_pixel() -> None:
    """For maps and for tokens: a level that holds its own row, column and image number."""
    images = torch.arange(11.0).view(11, 1, 1, 1).expand(11, 3, 8, 8)

    def features(batch: torch.Tensor) -> list[torch.Tensor]:
        y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        maps = torch.stack([torch.stack([image[0, 0, 0].expand(4, 4), y, x]) for image in batch])
        return [maps, maps.flatten(2).transpose(1, 2)]

    pixels = sample_pixels(np.zeros((11, 8, 8), np.uint8), np.arange(11), 44, "natural", 3)
    for level in features_at(features, images, [pixels])[0]:
        expected = np.column_stack([pixels.image, (pixels.y * 4).astype(int), (pixels.x * 4).astype(int)])
        assert (level == expected).all()
    assert at_pixels(features(images)[0], pixels).dtype == np.float64


@pytest.mark.parametrize(("n", "d"), [(60, 20), (20, 60)])
def test_reduced_features_keep_distances_as_far_as_they_can(n: int, d: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 5)) @ rng.normal(size=(5, d)) * 7 + 3
    small, whole = reduced(features, 5), reduced(features, None)
    assert small.shape == (n, 5) and (whole**2).mean() == pytest.approx(1) == (small**2).mean()
    np.testing.assert_allclose(d * small @ small.T, 5 * whole @ whole.T, atol=1e-6)
    np.testing.assert_allclose(reduced(features * 100, 5), small, atol=1e-8)
    assert reduced(features, 3).shape == (n, 3)


def test_images_are_the_same_for_every_checkpoint(call: dict[str, Any]) -> None:
    data = load_prepared(call["data_folder"])
    one, two = (target_images(data, 4, seed=9) for _ in range(2))
    assert torch.equal(one.images, two.images) and (one.groups == two.groups).all() and len(one.images) == 4
    assert read_json(call["data_folder"] / "card.json")["classes"] == ["square"]


def test_the_registry_and_the_schema_name_the_same_scores() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    scores = schema["properties"]["score"]["properties"]["scores"]
    assert scores["items"]["enum"] == list(SCORES) == scores["default"]
    stops = [name for name, score in SCORES.items() if score.of != "card"]
    assert schema["properties"]["stopping"]["properties"]["score"]["enum"] == stops
    for name, score in SCORES.items():
        assert score.better in ("higher", "lower") and score.cost and score.source, name
        assert score.needs in ("images", "labels", "source classifier", "card"), name


def test_the_documentation_lists_every_score() -> None:
    uses = {
        "view": "jittered views, every level, 30 settings",
        "level": "pixels, every level",
        "deepest": "pixels, deepest level",
        "levels": "pixels, all levels together",
        "points": "points of its own, all levels together",
        "card": "nothing",
    }
    text = (ROOT / "docs/scores.md").read_text()
    rows = [
        f"| `{name}` | {score.needs} | {score.better} | {uses[score.of]} | {score.cost} | {score.source} |"
        for name, score in SCORES.items()
    ]
    assert "\n".join(rows) in text
