"""The score job: all scores of a checkpoint from one pass, at pixels that are the same for every checkpoint."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.lib.finetune.test_finetune import ENCODER, job  # noqa: F401  (a fixture)
from workflow.lib.data.prepared import load_prepared
from workflow.lib.pretrain.checkpoint import write_checkpoint
from workflow.lib.run import read_json
from workflow.lib.score.label_scores import features_at, reduced
from workflow.lib.score.pixels import at_pixels, sample_pixels, target_images
from workflow.lib.score.registry import SCORES
from workflow.lib.score.score import score_checkpoint

ROOT = Path(__file__).parents[3]


@pytest.fixture
def call(job, tmp_path: Path) -> dict:  # noqa: F811
    names = {"target": "squares", "encoder": "unet", "scheme": "simple", "pretrain_seed": "5", "epochs": "3"}
    keep = {name: job[name] for name in ("data_folder", "weights", "encoder", "inputs", "device", "threads")}
    sizes = {"images": 6, "draws": 2, "pixels": 120, "samples": 2, "components": 8, "seed": 0}
    return (
        keep
        | sizes
        | {
            "names": names,
            "scores": list(SCORES),
            "output": tmp_path / "scores.csv",
            "by_group": tmp_path / "by_group.json",
        }
    )


def test_every_score_has_a_value_or_a_reason(call: dict):
    score_checkpoint(**call)
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


def test_the_same_pixels_and_numbers_for_the_same_seed(call: dict, tmp_path: Path):
    score_checkpoint(**call)
    score_checkpoint(**call | {"output": tmp_path / "again.csv"})
    one, two = (pd.read_csv(path).drop(columns="seconds") for path in (call["output"], tmp_path / "again.csv"))
    pd.testing.assert_frame_equal(one, two)


def test_values_of_patients_average_to_the_score(call: dict):
    score_checkpoint(**call)
    facts, table = read_json(call["by_group"]), pd.read_csv(call["output"])
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


def test_without_masks_label_scores_say_so(call: dict):
    path = call["data_folder"] / "card.json"
    path.write_text(path.read_text().replace('"square"', ""))
    score_checkpoint(**call)
    table = pd.read_csv(call["output"]).set_index("score")
    assert "no masks" in table.loc["logme", "warning"] and np.isnan(table.loc["logme", "value"])
    assert table.loc["robustness_sound", "value"].notna().all()
    facts = read_json(call["by_group"])
    assert list(facts["values"]) == ["robustness_sound"] and "no masks" in facts["missing"]["probe_all"]


def test_without_the_source_classifier_leep_says_so(call: dict):
    encoder = torch.nn.ModuleDict({"encoder": torch.nn.Module()})
    tensors = {k: v for k, v in torch.load(_as_torch(call["weights"])).items() if not k.startswith("head.")}
    encoder.state_dict = lambda: tensors  # type: ignore[method-assign]
    encoder.parameters = lambda: iter(tensors.values())  # type: ignore[method-assign]
    write_checkpoint(encoder, call["weights"], {"epoch": 3, "accuracy": 0.4})
    score_checkpoint(**call)
    table = pd.read_csv(call["output"]).set_index("score")
    assert table.loc["leep", "warning"].str.contains("source's classifier").all()


def _as_torch(path: Path) -> Path:
    from safetensors.torch import load_file

    torch.save(load_file(path), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def test_a_natural_sample_has_every_image_and_a_balanced_one_every_class():
    rng = np.random.default_rng(0)
    masks = (rng.random((5, 16, 16)) < 0.05).astype(np.uint8)
    masks[3] = 0  # an image without the class
    groups = np.array(list("abcde"))
    natural = sample_pixels(masks, groups, 100, "natural", 1)
    balanced = sample_pixels(masks, groups, 60, "balanced", 1)
    assert np.bincount(natural.image).tolist() == [20] * 5
    counts = np.bincount(balanced.label)
    assert counts[0] == 30 and counts[1] >= 25 and 3 not in balanced.image[balanced.label == 1]
    for pixels in (natural, balanced):
        assert (np.diff(pixels.image) >= 0).all() and (pixels.group == groups[pixels.image]).all()
        rows, columns = (pixels.y * 16).astype(int), (pixels.x * 16).astype(int)
        assert (masks[pixels.image, rows, columns] == pixels.label).all()
        assert len({*zip(pixels.image, rows, columns, strict=True)}) == len(rows), "no repeats"


def test_features_are_those_of_the_cell_of_the_pixel():
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
def test_reduced_features_keep_distances_as_far_as_they_can(n: int, d: int):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 5)) @ rng.normal(size=(5, d)) * 7 + 3
    small, whole = reduced(features, 5), reduced(features, None)
    assert small.shape == (n, 5) and (whole**2).mean() == pytest.approx(1)
    np.testing.assert_allclose(small @ small.T, whole @ whole.T, atol=1e-8)
    np.testing.assert_allclose(reduced(features * 100, 5), small, atol=1e-8)


def test_images_are_the_same_for_every_checkpoint(call: dict):
    data = load_prepared(call["data_folder"])
    one, two = (target_images(data, 4, seed=9) for _ in range(2))
    assert torch.equal(one.images, two.images) and (one.groups == two.groups).all() and len(one.images) == 4
    assert read_json(call["data_folder"] / "card.json")["classes"] == ["square"]


def test_the_registry_and_the_schema_name_the_same_scores():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    scores = schema["properties"]["score"]["properties"]["scores"]
    assert scores["items"]["enum"] == list(SCORES) == scores["default"]
    for name, score in SCORES.items():
        assert score.better in ("higher", "lower") and score.cost and score.source, name
        assert score.needs in ("images", "labels", "source classifier", "card"), name


def test_the_documentation_lists_every_score():
    text = (ROOT / "docs/scores.md").read_text()
    for name, score in SCORES.items():
        assert f"| `{name}` | {score.needs} | {score.better} |" in text, name
