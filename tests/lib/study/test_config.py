"""The config: the study's file is valid, and mistakes are named with their correction."""

from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from workflow.lib.job.run import UserError, sha256_of, write_json
from workflow.lib.study.checkpoints import trials_of
from workflow.lib.study.config import (
    check_config,
    check_labelled,
    check_released,
    check_unseen,
    data_variant,
    inputs_of,
    pretrain_variant,
    recipe,
)
from workflow.lib.study.guards import check_not_computed, check_rate, check_same_run, check_unchanged
from workflow.lib.study.protocol import PROTOCOLS, Protocol, protocol_of

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
RELEASED = ROOT / "workflow/registry/released.tsv"


@pytest.fixture
def study() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Snakemake's rule for several config files: mappings key by key, anything else replaced."""
    base = deepcopy(base)
    for key, value in extra.items():
        base[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def test_what_was_pretrained_on_a_target_is_not_ranked_on_it(study: dict[str, Any]) -> None:
    scheme = {"epochs": 300, "batch": 8, "learning_rate": 0.1}
    own = {"own": scheme | {"task": "masked", "source": "ACDC"}, "more": scheme | {"continues": "own"}}
    config = check_config(merged(study, {"schemes": own, "study": {"schemes": ["simple", "more"]}}), SCHEMA)
    check_unseen(config, "IDRiD")
    with pytest.raises(UserError, match="scheme more was pretrained on images of target ACDC") as error:
        check_unseen(config, "ACDC")
    assert "schemes.own.source: ACDC" in str(error.value)


def test_study_config_is_valid(study: dict[str, Any]) -> None:
    config = check_config(study, SCHEMA)
    assert config["protocol"] == "paper"
    assert config["targets"]["ACDC"]["train_cases"] is None


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(
    study: dict[str, Any], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_LITE", str(tmp_path))
    for lite in range(3):
        (tmp_path / f"lite{lite}.pth").touch()
    monkeypatch.setenv("MEDSEG_REALDATA", "/data")
    monkeypatch.setenv("MEDSEG_IMAGES", "/data")
    below = [path.with_name(path.stem.split("_")[0] + ".yaml")] if "_" in path.stem else []
    for file in [*below, path]:
        study = merged(study, yaml.safe_load(file.read_text()))
    check_config(study, SCHEMA)


def test_switches_of_the_schema_are_those_of_the_protocols() -> None:
    known = yaml.safe_load(SCHEMA.read_text())["properties"]["switches"]["properties"]
    values = {name: list(get_args(kind)) for name, kind in get_type_hints(Protocol).items()}
    assert {name: entry["enum"] for name, entry in known.items()} == values
    assert PROTOCOLS == {"paper": {n: v[0] for n, v in values.items()}, "sound": {n: v[1] for n, v in values.items()}}
    table = (ROOT / "docs/protocol.md").read_text()
    for name, (paper, sound) in values.items():
        line = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`{paper}`" in line.split("|")[2] and f"`{sound}`" in line.split("|")[3]


def test_a_switch_changes_the_names_of_what_depends_on_it_alone(study: dict[str, Any]) -> None:
    def names(**change: Any) -> tuple[str, str]:
        config = check_config(merged(study, change), SCHEMA)
        return data_variant(config), pretrain_variant(config)

    assert names() == names(switches={"masks": "interpolated"}) == ("paper-224", "unchanged-224")
    assert names(protocol="sound") == ("sound-224", "standardised-224")
    for switch, value in {"frozen": "evaluation", "metrics": "per_case", "robustness": "sound"}.items():
        assert names(switches={switch: value}) == names()
    assert names(switches={"inputs": "standardised"}) == ("paper-224", "standardised-224")
    data, pretrain = names(switches={"validation": "held_out"})
    assert data.startswith("mixed-") and data.endswith("-224") and pretrain == "unchanged-224"


def test_a_switch_replaces_one_step_of_the_protocol(study: dict[str, Any]) -> None:
    config = check_config(merged(study, {"switches": {"masks": "nearest"}}), SCHEMA)
    assert protocol_of(config) == PROTOCOLS["paper"] | {"masks": "nearest"}


def test_the_recipe_of_finetuning_follows_the_protocol_unless_it_is_given(study: dict[str, Any]) -> None:
    def found(change: dict[str, Any]) -> tuple[Any, ...]:
        finetune = check_config(merged(study, change), SCHEMA)["finetune"]
        return tuple(
            finetune[key] for key in ("optimizer", "learning_rate", "weight_decay", "loss", "rotation", "flip")
        )

    paper, sound = ("sgd", 0.05, 0.0001, "dice", 180, True), ("adamw", 0.0003, 0.01, "dice_ce", 15, False)
    assert found({}) == paper and found({"protocol": "sound"}) == sound
    assert found({"protocol": "sound", "switches": {"recipe": "study"}}) == paper
    assert found({"protocol": "sound", "finetune": {"rotation": 0, "flip": True}}) == (*sound[:4], 0, True)


def test_a_finished_run_is_not_replaced_by_one_with_other_settings(tmp_path: Path) -> None:
    settings = {"protocol": {"metrics": "pooled"}, "recipe": {"epochs": 150}}
    check_same_run(tmp_path, settings)  # nothing finished yet
    write_json(
        tmp_path / "ACDC/trainable/unet/random/epoch0-seeds1-3/card.json", {"runs": [settings | {"seconds": 3}] * 3}
    )
    check_same_run(tmp_path, settings)
    with pytest.raises(UserError, match="finished fine-tunings with other settings") as error:
        check_same_run(tmp_path, settings | {"recipe": {"epochs": 10}})
    assert "150" in str(error.value) and "10" in str(error.value) and "pooled" not in str(error.value)


def test_released_weights_of_other_lengths_and_encoders_are_refused(study: dict[str, Any]) -> None:
    config = check_config(merged(study, {"pretraining": {"weights": "released"}}), SCHEMA)
    check_released(config, RELEASED)  # the study's own lengths
    config["study"]["lengths"] = [0, 10, 300]
    with pytest.raises(UserError, match="released no such weights") as error:
        check_released(config, RELEASED)
    assert "lengths [10]" in str(error.value) and "[1, 5, 20, 50, 100, 150, 200, 250, 300]" in str(error.value)
    config["study"]["lengths"], config["encoders"]["unet"]["architecture"] = [300], "timm/resnet18"
    with pytest.raises(UserError, match="architecture timm/resnet18"):
        check_released(config, RELEASED)


def test_weights_from_elsewhere_see_what_they_were_trained_with(study: dict[str, Any]) -> None:
    change = {"protocol": "sound", "pretraining": {"weights": {"unet": "released"}}}
    config = check_config(merged(study, change), SCHEMA)
    seen = {name: inputs_of(config, name) for name in ("unet", "resnet50", "swin")}
    assert seen == {"unet": "unchanged", "resnet50": "standardised", "swin": "standardised"}


def test_one_encoder_does_not_mix_released_weights_with_other_inputs(study: dict[str, Any]) -> None:
    change = {"protocol": "sound", "pretraining": {"weights": {"swin": {"simple": "released"}}}}
    with pytest.raises(UserError, match="encoder swin get different inputs") as error:
        check_released(check_config(merged(study, change), SCHEMA), RELEASED)
    assert "switches: {inputs: unchanged}" in str(error.value)
    check_released(check_config(merged(study, change | {"switches": {"inputs": "unchanged"}}), SCHEMA), RELEASED)


def test_an_encoder_in_a_folder(study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    study["encoders"]["mine"] = {
        "architecture": "timm/local-dir:$PLACE",
        "network": "mine",
        "weights": "timm",
        "epochs": 1,
    }
    study["study"]["encoders"] = ["mine"]
    assert check_config(study, SCHEMA)["encoders"]["mine"]["architecture"] == f"timm/local-dir:{tmp_path}"
    study["encoders"]["mine"]["architecture"] += "/none"
    with pytest.raises(UserError, match=r"encoders\.mine\.architecture is absent"):
        check_config(study, SCHEMA)


def test_a_target_without_masks_is_for_scores_alone(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    change = {
        "targets": {"bare": {"layout": "folder", "folder": str(tmp_path)}},
        "study": {"targets": ["ACDC", "bare"]},
    }
    config = check_config(merged(study, change), SCHEMA)
    check_labelled(config, "ACDC")
    with pytest.raises(UserError, match="target bare has no masks") as error:
        check_labelled(config, "bare")
    assert "config: targets.bare" in str(error.value) and "snakemake scores" in str(error.value)
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="no classes, but masks/ in its folder"):
        check_config(merged(study, change), SCHEMA)


def test_recipe_of_one_encoder(study: dict[str, Any]) -> None:
    config = check_config(study, SCHEMA)
    assert recipe(config, "swin", "advanced")["batch"] == 1024
    assert recipe(config, "unet", "advanced")["batch"] == 4096
    assert recipe(config, "unet", "simple")["warmup_epochs"] == 5
    assert "per_encoder" not in recipe(config, "unet", "simple")


def test_a_finished_pretraining_is_not_repeated_with_other_settings(tmp_path: Path) -> None:
    settings = {"recipe": {"learning_rate": 0.1, "batch": 4}, "precision": "float32"}
    images, other = tmp_path / "index.csv.gz", tmp_path / "other.csv.gz"
    images.write_text("images")
    other.write_text("other images")
    check_unchanged(tmp_path, settings, images)  # nothing finished yet
    write_json(tmp_path / "epoch1.json", settings | {"accuracy": 0.5, "index": sha256_of(images)})
    check_unchanged(tmp_path, settings, images)
    check_unchanged(tmp_path, settings, tmp_path / "nowhere")  # a laptop without the images
    with pytest.raises(UserError, match="index") as error:
        check_unchanged(tmp_path, settings, other)
    assert sha256_of(images) in str(error.value) and sha256_of(other) in str(error.value)
    with pytest.raises(UserError, match="other settings") as error:
        check_unchanged(tmp_path, {**settings, "recipe": {"learning_rate": 0.2, "batch": 4}}, images)
    for word in ("{'learning_rate': 0.1}", "{'learning_rate': 0.2}", str(tmp_path), f"rm -r {tmp_path}"):
        assert word in str(error.value)


def test_a_learning_rate_chosen_on_a_judged_target_is_refused(tmp_path: Path) -> None:
    check_rate(tmp_path, ["IDRiD"], ["ACDC"])  # nothing finished yet
    write_json(
        tmp_path / "epoch1.json", {"rate": {"chosen": 0.1, "dice": {"0.1": {"IDRiD": 0.5}, "0.2": {"IDRiD": 0.4}}}}
    )
    check_rate(tmp_path, ["IDRiD"], ["ACDC"])
    for development, targets in ((["ACDC"], ["IDRiD"]), (["IDRiD"], ["IDRiD"]), (["IDRiD", "ACDC"], [])):
        with pytest.raises(UserError, match="chosen on other targets") as error:
            check_rate(tmp_path, development, targets)
        assert "IDRiD in its cards" in str(error.value) and f"rm -r {tmp_path}" in str(error.value)


def test_deposited_tables_do_not_replace_a_computed_run(tmp_path: Path) -> None:
    check_not_computed(tmp_path)
    (tmp_path / "finetune").mkdir()
    with pytest.raises(UserError, match="would replace") as error:
        check_not_computed(tmp_path)
    assert str(tmp_path / "finetune") in str(error.value) and "another name" in str(error.value)


def test_micro_batch_divides_the_batch(study: dict[str, Any]) -> None:
    for batch, limit, expected in ((100, 64, 50), (64, 512, 64), (4096, 384, 256), (7, 4, 1)):
        study["schemes"]["simple"] |= {"batch": batch, "micro_batch": limit, "per_encoder": {}}
        assert recipe(check_config(study, SCHEMA), "unet", "simple")["micro_batch"] == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"finetune": {"epoch": 3}}, ["unknown key epoch under finetune", "did you mean epochs?"]),
        ({"finetune": {"micro_batch": 5}}, ["finetune.micro_batch 5", "one of [1, 2, 3, 4, 6, 8, 12, 24]"]),
        ({"protcol": "sound"}, ["unknown key protcol under top level", "did you mean protocol?"]),
        ({"encoders": {"unet": {"widht": 3}}}, ["unknown key widht under encoders.unet", "did you mean width?"]),
        ({"study": {"targets": ["ACDC", "IDRID"]}}, ["unknown target 'IDRID'", "did you mean IDRiD?"]),
        ({"study": {"lengths": [0, 60]}}, ["study.lengths [60]", "pretraining.keep"]),
        ({"protocol": "papper"}, ["wrong value under protocol", "papper", "paper"]),
        ({"image_size": 100}, ["encoder unet", "multiple of 16", "choose 96"]),
        ({"schemes": {"simple": {"epochs": 200}}}, ["scheme simple ends before", "at least 300"]),
        (
            {"schemes": {"simple": {"continues": "first"}, "first": {"epochs": 9, "batch": 8, "learning_rate": 0.1}}},
            ["scheme first ends before", "at least 300"],
        ),
        ({"image_size": 32}, ["encoder resnet50", "64 or more", "choose 64"]),
        ({"encoders": {"swin": {"width": 32}}}, ["encoder swin", "width 32", "multiple of 3", "choose 33"]),
        (
            {"schemes": {"simple": {"per_encoder": {"resnet": {}}}}},
            ["unknown encoder 'resnet'", "did you mean resnet50?"],
        ),
        ({"study": {"lengths": [0]}}, ["no pretraining to study", "at least one length > 0"]),
        ({"targets": {"ACDC": {"classes": ["heart"]}}}, ["target ACDC", "classes with layout acdc"]),
        ({"targets": {"ACDC": {"window": [0, 1], "slices": 3}}}, ["target ACDC", "slices, window with layout acdc"]),
        ({"targets": {"ACDC": {"layout": "folder", "classes": {"a": 1, "b": 1}}}}, ["another label for each class"]),
        ({"targets": {"ACDC": {"layout": "folder", "classes": {"a": 0}}}}, ["targets.ACDC.classes"]),
        ({"targets": {"ACDC": {"layout": "folder", "window": [5, -5]}}}, ["window [5, -5]", "low below high"]),
        ({"targets": {"ACDC": {"layout": "folder", "window": [5]}}}, ["wrong value under targets.ACDC.window", "[5]"]),
        (
            {"targets": {"ACDC": {"layout": "folder", "windows": [0, 1]}}},
            ["unknown key windows", "did you mean window?"],
        ),
        (
            {"targets": {"ACDC": {"layout": "folder", "slices": "middle"}}},
            ["targets.ACDC.slices", "'middle'", "labelled"],
        ),
        ({"targets": {"ACDC": {"layout": "folder", "slices": 0}}}, ["targets.ACDC.slices", "minimum"]),
        ({"targets": {"ACDC": {"layout": "folder", "slices": "labelled"}}}, ["slices: labelled without classes"]),
        (
            {"targets": {"ACDC": {"layout": "folder", "classes": ["a"], "group": {"pattern": "("}}}},
            ["target ACDC", "pattern (", "regular expression"],
        ),
        ({"targets": {"ACDC": {"layout": "folder", "group": {"table": "a.csv"}}}}, ["targets.ACDC.group", "table"]),
        ({"pretraining": {"source": "imagenet"}}, ["unknown source 'imagenet'", "did you mean ImageNet?"]),
        ({"pretraining": {"weights": "relased"}}, ["wrong value under pretraining.weights", "relased", "released"]),
        ({"pretraining": {"weights": {"swim": "released"}}}, ["unknown encoder 'swim'", "did you mean swin?"]),
        ({"pretraining": {"weights": {"swin": {"simpel": "released"}}}}, ["unknown scheme 'simpel'", "simple?"]),
        ({"protocol": "sound", "score": {"scores": ["robustness"]}}, ["robustness_sound among them", "score.scores"]),
        ({"released": {"folder": "/nowhere"}}, ["released.folder is absent", "/nowhere"]),
        (
            {"encoders": {"mine": {"architecture": "timm/resnet18", "network": "R", "weights": "/no/f", "epochs": 1}}}
            | {"study": {"encoders": ["mine"]}},
            ["encoders.mine.weights is absent", "/no/f"],
        ),
        ({"switches": {"mask": "nearest"}}, ["unknown key mask under switches", "did you mean masks?"]),
        ({"switches": {"masks": "linear"}}, ["wrong value under switches.masks", "linear", "nearest"]),
        ({"encoders": {"unet": {"architecture": "timm/resnet18"}}}, ["encoder unet", "no width"]),
        ({"encoders": {"unet": {"weights": "timm", "epochs": 1}}}, ["encoder unet", "pretraining.weights: released"]),
        (
            {"encoders": {"mine": {"architecture": "timm/resnet18", "network": "R", "weights": "timm"}}}
            | {"study": {"encoders": ["mine"]}},
            ["encoder mine", "both weights and epochs"],
        ),
        (
            {"encoders": {"mine": {"architecture": "timm/resnet18", "network": "R", "weights": "$NO/f", "epochs": 1}}},
            ["environment variable in encoders.mine.weights", "$NO/f"],
        ),
    ],
)
def test_mistakes_are_named(study: dict[str, Any], change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check_config(merged(study, change), SCHEMA)
    for word in [*words, "found:", "expected:", "where:", "next:"]:
        assert word in str(error.value)


def with_scheme(study: dict[str, Any], **scheme: Any) -> dict[str, Any]:
    study["schemes"]["new"] = {"epochs": 300, "batch": 8, "learning_rate": 0.1} | scheme
    study["study"]["schemes"] = ["new"]
    return study


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ({"source": "ACDC"}, "task classification with source ACDC"),
        ({"task": "segmentation", "source": "bare"}, "which has no masks"),
        ({"task": "masked", "augmentation": "advanced"}, "augmentation advanced with task masked"),
        ({"task": "contrastive", "batch": 1}, "a batch of one image"),
        ({"task": "contrastive", "per_encoder": {"unet": {"micro_batch": 1}}}, "a batch of one image"),
        ({"task": "masked", "continues": "new"}, "continues: new -> new"),
        ({"task": "masked", "source": "imagnet"}, "unknown source 'imagnet'"),
        ({"task": "masked", "continues": "smple"}, "did you mean simple"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(study: dict[str, Any], scheme: dict[str, Any], words: str) -> None:
    study["targets"]["bare"] = {"layout": "folder", "folder": "/tmp"}
    with pytest.raises(UserError) as error:
        check_config(with_scheme(study, **scheme), SCHEMA)
    assert words in str(error.value) and "next:" in str(error.value)


def test_a_decoder_that_nothing_trains_is_not_transferred(study: dict[str, Any]) -> None:
    study["study"]["transfer"] = ["encoder", "both"]
    with pytest.raises(UserError, match="no decoder to transfer"):
        check_config(study, SCHEMA)


def test_finished_cards_of_classification_still_fit(study: dict[str, Any]) -> None:
    values = recipe(check_config(study, SCHEMA), "unet", "simple")
    assert not values.keys() & {"task", "source", "continues"}
    values = recipe(check_config(with_scheme(study, task="masked", source="ACDC"), SCHEMA), "unet", "new")
    assert (values["task"], values["source"]) == ("masked", "ACDC") and "continues" not in values


def test_images_of_a_test_split_are_not_pretrained_on(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "again").symlink_to(tmp_path)
    mine = {"layout": "folder", "folder": str(tmp_path), "classes": ["lesion"]}
    study["targets"] |= {"mine": mine, "again": mine | {"folder": str(tmp_path / "again")}}
    study["sources"]["lying"] = {"layout": "imagenet", "folder": str(tmp_path / "images")}
    study["study"]["targets"] = ["mine"]
    for source in ("again", "lying"):
        with pytest.raises(UserError, match="have the same images") as error:
            check_config(with_scheme(study, task="reconstruction", source=source), SCHEMA)
        assert "source: mine" in str(error.value)
        first = study["schemes"]["new"]
        chain = {"first": first}
        for name, before in {"middle": "first", "last": "middle"}.items():
            chain[name] = first | {"source": None, "continues": before}
        with pytest.raises(UserError, match="have the same images"):
            check_config(merged(study, {"schemes": chain, "study": {"schemes": ["last"]}}), SCHEMA)
    check_config(with_scheme(study, task="reconstruction", source="mine"), SCHEMA)


def tuned(study: dict[str, Any], **change: Any) -> dict[str, Any]:
    base = merged(study, {"study": {"targets": ["ACDC"], "development": ["IDRiD"], "pretrain_seeds": [7, 8]}})
    return merged(base, {"schemes": {"simple": {"learning_rate": [0.001, 0.004]}}} | change)


def test_each_learning_rate_that_is_tried_is_a_scheme(study: dict[str, Any]) -> None:
    config = check_config(tuned(study), SCHEMA)
    trials = {rate: jobs[0] for rate, jobs in trials_of(config, "swin", "simple").items()}
    assert {rate: (job.target, job.pretraining) for rate, job in trials.items()} == {
        0.001: ("IDRiD", "simple.rate0.001/seed7"),
        0.004: ("IDRiD", "simple.rate0.004/seed7"),
    }
    assert config["schemes"]["simple.rate0.004"] == config["schemes"]["simple"] | {"learning_rate": 0.004}
    assert "simple.rate0.004" not in config["study"]["schemes"], "a trial is not part of the grid"
    assert check_config(deepcopy(config), SCHEMA) == config


@pytest.mark.parametrize(
    "change, found",
    [
        ({"study": {"development": []}}, "several rates for simple; study.development []"),
        ({"schemes": {"simple": {"learning_rate": 0.001}}}, "several rates for no scheme"),
        ({"study": {"development": ["ACDC"]}}, "ACDC also in study.targets"),
        ({"schemes": {"advanced": {"learning_rate": [0.1, 0.2, 0.3]}}}, "simple: 2 rates; advanced: 3 rates"),
        ({"study": {"development": ["own"]}, "targets": {"own": {"layout": "folder"}}}, "own without masks"),
    ],
)
def test_learning_rates_are_chosen_fairly_and_elsewhere(
    study: dict[str, Any], change: dict[str, Any], found: str
) -> None:
    with pytest.raises(UserError, match="learning rates cannot be chosen") as error:
        check_config(merged(tuned(study), change), SCHEMA)
    assert found in str(error.value)


@pytest.mark.parametrize(
    "name, change, found",
    [
        ("swin", {}, "the name of an encoder too"),
        ("mine", {"window": [8, 8, 8]}, "window [8, 8, 8], dimensions 2"),
        ("mine", {"window": [8, 8, 8], "dimensions": 3, "head": "last"}, "head with dimensions 3"),
    ],
)
def test_given_networks_that_cannot_be_used_are_refused(
    study: dict[str, Any], name: str, change: dict[str, Any], found: str
) -> None:
    network = {"class": "a.B", "weights": "net.pt", "modules": ["up"], "window": [8, 8]} | change
    with pytest.raises(UserError, match=f"network {name} cannot be used") as error:
        check_config(merged(study, {"pool": {"given": {name: network}}}), SCHEMA)
    assert found in str(error.value) and f"pool.given.{name}" in str(error.value)
