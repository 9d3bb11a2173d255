"""The study's weights become checkpoints, tensor by tensor, or an error that says which tensor does not fit."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.study_files import save_study_file, study_classifier
from workflow.lib.job.run import UserError, read_json, sha256_of, write_json
from workflow.lib.networks.build import build_classifier, build_encoder, load_encoder
from workflow.lib.networks.checkpoint import trained_as
from workflow.lib.networks.study_names import renamed
from workflow.lib.pretrain.released import convert_released

ROOT = Path(__file__).parents[3]
ENCODER = {"architecture": "unet", "width": 4}
FILE = "unet_encoder_advanced_pretraining_checkpoint_epoch_20.pt"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    return {
        "files": listed(save_study_file(tmp_path, ENCODER, "advanced", 20)),
        "registry": ROOT / "workflow/registry/released.tsv",
        "weights": tmp_path / "out/epoch20.safetensors",
        "encoder": ENCODER,
        "scheme": "advanced",
        "epochs": 20,
    }


def listed(path: Path) -> Path:
    """What the fetching of `path` would have written."""
    files = path.with_name("files.json")
    write_json(files, {"weights": {path.name: {"path": str(path), "sha256": sha256_of(path)}}})
    return files


def test_checkpoint_of_released_weights(job: dict[str, Any], tmp_path: Path) -> None:
    convert_released(**job)
    tensors, study = load_file(job["weights"]), study_classifier(ENCODER)
    assert len(tensors) == 72 + 2
    assert torch.equal(tensors["encoder.stem.weight"], study["layers.0.first_block.weight"])
    assert torch.equal(tensors["encoder.levels.4.3.bias"], study["layers.0.bottom_block.conv0.block.3.bias"])
    assert torch.equal(tensors["head.weight"], study["layers.3.weight"])
    card = read_json(job["weights"].with_suffix(".json"))
    assert (card["epoch"], card["accuracy"]) == (20, 0.424)
    assert trained_as(card) == "advanced" and card["from"] == FILE and card["from_sha256"] == sha256_of(tmp_path / FILE)
    load_encoder(build_encoder(ENCODER, use="downstream"), job["weights"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("layers.0.first_block.bias"), ["1 differences", "missing encoder.stem.bias"]),
        (lambda t: t.update({"layers.0.extra": torch.zeros(1)}), ["1 differences", "unexpected encoder.extra"]),
        (lambda t: t.update({"layers.3.weight": torch.zeros(10, 64), "layers.3.bias": torch.zeros(10)}),
         ["2 differences", "head.weight has shape (10, 64) instead of (1000, 64)", "1000 classes"]),
        (lambda t: t.update({"layers.0.first_block.bias": torch.full((4,), torch.nan)}),
         ["1 differences", "values that are not finite"]),
        (lambda t: t.update({"layers.0.first_block.bias": torch.zeros(4).half()}), ["1 differences", "type torch.float16"]),
        (lambda t: [t.pop(name) for name in list(t) if "down_layers" in name], ["56 differences", "and 46 more"]),
    ],
    ids=["too few", "too many", "class count", "not finite", "half precision", "many"],
)  # fmt: skip
def test_weights_that_do_not_fit(
    job: dict[str, Any],
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], object],
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    tensors = study_classifier(ENCODER)
    change(tensors)
    torch.save(tensors, tmp_path / FILE)
    listed(tmp_path / FILE)
    with pytest.raises(UserError, match="released weights do not fit the network") as error:
        convert_released(**job)
    for word in [*words, FILE, "next:"]:
        assert word in str(error.value)
    assert not job["weights"].exists() and not job["weights"].with_suffix(".json").exists()
    in_log = [line for line in caplog.text.splitlines() if re.match(r"(missing |unexpected )?(encoder|head)\.", line)]
    assert f"{len(in_log)} differences" == words[0]  # the log has all of them


@pytest.mark.parametrize(
    "settings",
    [{"architecture": "resnet50", "width": 4}, {"architecture": "swin", "width": 24, "window": 4}],
    ids=["resnet50", "swin"],
)
def test_the_other_encoders(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = save_study_file(tmp_path, settings, "simple", 300)
    weights = tmp_path / "out.safetensors"
    registry = ROOT / "workflow/registry/released.tsv"
    convert_released(
        files=listed(path), registry=registry, weights=weights, encoder=settings, scheme="simple", epochs=300
    )
    expected = build_classifier(settings, 1000, use="simple", seed=3).state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in load_file(weights).items())


def test_weights_of_another_width(job: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"has shape \(4,\) instead of \(8,\)"):
        convert_released(**job | {"encoder": {"architecture": "unet", "width": 8}})


@pytest.mark.parametrize(
    "content",
    [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>not found</html>"],
    ids=["truncated", "empty", "a web page"],
)
def test_damaged_weights(job: dict[str, Any], tmp_path: Path, content: Callable[[bytes], bytes]) -> None:
    (tmp_path / FILE).write_bytes(content((tmp_path / FILE).read_bytes()))
    listed(tmp_path / FILE)
    with pytest.raises(UserError, match="unreadable weights") as error:
        convert_released(**job)
    for word in (str(tmp_path / FILE), "put an undamaged file in its place", str(job["files"])):
        assert word in str(error.value)
    assert "weights_only" not in str(error.value)  # torch's own advice is unsafe


def test_weights_that_vanished(job: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="no such file") as error:
        convert_released(**job)
    assert "put the same file back" in str(error.value)


class Trap:
    """Unpickling it would write a file."""

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (Path("trapped"), "code was run")


def test_a_pickle_with_code_in_it_is_not_run(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for save in (torch.save, lambda content, path: Path(path).write_bytes(pickle.dumps(content))):
        save({"layers.0.first_block.bias": Trap()}, tmp_path / FILE)
        listed(tmp_path / FILE)
        with pytest.raises(UserError, match="unreadable weights"):
            convert_released(**job)
    assert not Path("trapped").exists()
    torch.save([1, 2], tmp_path / FILE)
    with pytest.raises(UserError, match="no tensors but a list"):
        convert_released(**job | {"files": listed(tmp_path / FILE)})


def test_weights_that_changed_since_they_were_fetched(job: dict[str, Any], tmp_path: Path) -> None:
    torch.save(study_classifier(ENCODER) | {"layers.3.bias": torch.ones(1000)}, tmp_path / FILE)
    with pytest.raises(UserError, match="changed since they were fetched"):
        convert_released(**job)


def test_weights_that_the_record_does_not_hold(job: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="record does not hold") as error:
        convert_released(**job | {"epochs": 50})
    assert FILE in str(error.value) and FILE.replace("20", "50") in str(error.value)


def test_attention_masks_are_compared_and_left_out() -> None:
    window, across, shift = 4, 2, 2
    side = window * across
    regions = torch.zeros(side, side)
    for i, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            regions[rows, columns] = 3 * i + j
    tokens = torch.stack([
        regions[y : y + window, x : x + window].flatten() for y in range(0, side, window) for x in range(0, side, window)
    ])  # fmt: skip
    mask = torch.where(tokens[:, None] == tokens[:, :, None], 0.0, -100.0)
    name = "layers.0.down_layers.0.conv1.attn_mask"
    assert renamed({name: mask}, "swin") == {}
    mask[3, 0, 15] += 1
    assert list(renamed({name: mask}, "swin")) == ["encoder.levels.0.1.attn_mask"]
