"""What a fine-tuning takes from a checkpoint, and on which patients it is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.lib.finetune.test_finetune import ENCODER, JOB, job, prepared  # noqa: F401  (job: a fixture)
from workflow.lib.data.prepared import load_prepared
from workflow.lib.finetune import finetune
from workflow.lib.finetune.finetune import finetune_network
from workflow.lib.finetune.subsets import classes_lacking, training_patients
from workflow.lib.job.run import UserError, derive_seed, read_json
from workflow.lib.networks.build import Segmenter, build_classifier, build_segmenter
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.study.checkpoints import Way
from workflow.lib.training.engine import Plan


class Stop(Exception):
    pass


def at_start(job: dict[str, Any], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segmenter:  # noqa: F811
    """The network of a fine-tuning before its first step."""
    seen: list[Any] = []

    def train(plan: Plan, *_: Any, **__: Any) -> None:
        seen.append(plan.model)
        raise Stop

    monkeypatch.setattr(finetune, "train", train)
    with pytest.raises(Stop):
        finetune_network(output_folder=tmp_path / "out", **job | {"job": JOB._replace(way=way)})
    network = seen[0]
    assert isinstance(network, Segmenter)
    return network


@pytest.fixture
def checkpoint(job: dict[str, Any], tmp_path: Path) -> dict[str, torch.Tensor]:  # noqa: F811
    """The job's checkpoint with a decoder of a task of four classes."""
    path = tmp_path / "epoch3.safetensors"
    write_checkpoint(build_segmenter(ENCODER, 5, use="simple", seed=9), path, {"epoch": 3, "accuracy": None})
    return load_file(path)


@pytest.mark.parametrize("way", ["trainable", "trainable-both", "trainable-decoder"])
def test_what_is_transferred(
    way: str,
    job: dict[str, Any],  # noqa: F811
    checkpoint: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = at_start(job, way, tmp_path, monkeypatch).state_dict()
    seed = derive_seed(1, "weights")
    drawn = build_segmenter(ENCODER, 1, use="simple", seed=seed).state_dict()
    random = build_classifier(ENCODER, 7, use="simple", seed=seed).state_dict()  # as the checkpoint of length 0
    for name, tensor in found.items():
        if name.startswith("encoder."):
            expected = random[name] if way == "trainable-decoder" else checkpoint[name]
        else:
            taken = way != "trainable" and not name.startswith("decoder.head.")
            expected = checkpoint[name] if taken else drawn[name]
        assert torch.equal(tensor, expected), name


def test_a_decoder_that_is_absent_or_of_another_width_is_refused(job: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    both = {"job": JOB._replace(way="trainable-both")}
    with pytest.raises(UserError, match="does not fit") as error:
        finetune_network(output_folder=tmp_path / "out", **job | both)
    assert "no tensor below decoder." in str(error.value) and "docs/transfer.md" in str(error.value)
    model = build_segmenter(ENCODER, 5, use="simple", seed=9)
    model.decoder = build_segmenter(ENCODER | {"width": 8}, 5, use="simple", seed=9).decoder
    write_checkpoint(model, tmp_path / "epoch3.safetensors", {"epoch": 3, "accuracy": None})
    with pytest.raises(UserError, match="does not fit") as error:
        finetune_network(output_folder=tmp_path / "out", **job | both)
    assert "UNetDecoder" in str(error.value) and "has shape" in str(error.value)


def test_few_patients_are_trained_on_for_as_many_steps(job: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    for way in ("trainable", "trainable-2patients-draw1"):
        finetune_network(output_folder=tmp_path / way, **job | {"job": JOB._replace(way=way)})
    all_of_them, few = (
        read_json(tmp_path / way / "card.json")["runs"][0] for way in ("trainable", "trainable-2patients-draw1")
    )
    assert (all_of_them["patients"], few["patients"]) == (6, 2)
    assert all_of_them["steps_per_epoch"] == few["steps_per_epoch"]
    assert few["names"]["patients"] == "2" and few["names"]["draw"] == "1"


def test_smaller_sets_are_parts_of_larger_ones_and_show_a_class(tmp_path: Path) -> None:
    masks = np.zeros((10, 16, 16), np.uint8)
    masks[[2, 5], 4:8, 4:8] = 1  # two of eight training patients have anything to find
    images = np.zeros((10, 1, 16, 16), np.uint8)
    data = load_prepared(prepared(tmp_path / "data", images, masks, ["train"] * 8 + ["validation", "test"]))
    drawn = []
    for draw in range(1, 9):
        small, large = (training_patients(data, n, draw, tmp_path) for n in (2, 5))
        assert len(small) == 2 and len(large) == 5 and small < large
        assert small & {"g2", "g5"} and not large & {"g8", "g9"}
        assert training_patients(data, 2, draw, tmp_path) == small
        drawn.append(frozenset(small))
    assert len(set(drawn)) > 3
    assert training_patients(data, 0, 0, tmp_path) == {f"g{i}" for i in range(8)}
    with pytest.raises(UserError, match="fewer training patients") as error:
        training_patients(data, 9, 1, tmp_path)
    assert "8 training patients" in str(error.value) and "study.train_patients" in str(error.value)


def test_a_class_that_no_chosen_patient_shows_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[0], masks[3] = 1, 1  # the last one is for validation
    data = load_prepared(prepared(tmp_path / "data", masks[:, None], masks, ["train"] * 3 + ["validation"]))
    assert classes_lacking(data, {"g0", "g1"}) == [] and not caplog.text
    assert classes_lacking(data, {"g1", "g2", "g3"}) == ["square"]
    assert "no image of the 3 training patients used shows square: it is not learnt" in caplog.text


def test_sets_without_foreground_are_refused(tmp_path: Path) -> None:
    empty = np.zeros((4, 16, 16), np.uint8)
    data = load_prepared(prepared(tmp_path / "data", empty[:, None], empty, ["train"] * 2 + ["validation", "test"]))
    with pytest.raises(UserError, match="no training patient of squares shows a class"):
        training_patients(data, 1, 1, tmp_path)


@pytest.mark.parametrize(
    "way", [Way(True), Way(False, "both"), Way(False, "encoder", 5, 2), Way(True, "decoder", 12, 1)]
)
def test_names_of_ways_are_read_back(way: Way) -> None:
    assert Way.of(way.name) == way
    with pytest.raises(ValueError):
        Way.of(way.name + "-")
