"""A ranking from made-up score files: who wins, who is not distinguishable from the winner, and what the answer says."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workflow.lib.job.run import UserError
from workflow.lib.rank.rank import rank_target
from workflow.lib.rank.ranking import rank, ranking_text
from workflow.lib.rank.table import read_scored
from workflow.lib.study.checkpoints import Checkpoint

GOOD, FAIR, BAD = (
    Checkpoint("resnet", "pretrained", 0, 90),
    Checkpoint("unet", "simple", 1, 20),
    Checkpoint("unet", "random", 7, 0),
)
COLUMNS = ["metric", "margin", "pooled", "sample", "level", "value", "ci_low", "ci_high", "draws", "seconds", "warning"]


def score_files(
    folder: Path,
    probe: dict[Checkpoint, Any],
    *,
    robustness: dict[Checkpoint, Any] | None = None,
    accuracy: dict[Checkpoint, float] | None = None,
    missing: str = "",
    licence: str | None = None,
) -> dict[str, list[Any]]:
    """Candidates and score files as `score_checkpoints` writes them; probe, robustness: values of patients, None for none."""
    files: dict[str, list[Any]] = {"candidates": [*(probe or robustness or {})], "scores": [], "by_group": []}
    for checkpoint in probe or robustness or {}:
        values, reasons = {}, {}
        for name, found in (("probe_all", probe), ("robustness_sound", robustness or {})):
            if found.get(checkpoint) is not None:
                values[name] = {f"p{i}": float(x) for i, x in enumerate(found[checkpoint])}
            else:
                reasons[name] = missing
        number = max(len(v) for v in values.values()) if values else 12
        common = dict(zip(("target", "encoder", "scheme", "pretrain_seed", "epochs"), ("T", *checkpoint), strict=True))
        rows = [{"score": name, "better": "higher", "value": np.mean(list(v.values()))} for name, v in values.items()]
        rows = [row | {"better": "lower"} if row["score"] == "robustness_sound" else row for row in rows]
        rows += [{"score": name, "better": "higher", "warning": missing} for name in reasons]
        rows += [
            {"score": "knn", "better": "higher", "sample": s, "level": i, "value": i}
            for s in ("balanced", "natural")
            for i in (1, 2)
        ]
        rows += [{"score": "imagenet_accuracy", "better": "higher", "value": (accuracy or {}).get(checkpoint)}]
        path = folder / f"{checkpoint.path}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([common | row for row in rows], columns=[*common, "score", "better", *COLUMNS]).to_csv(
            path, index=False
        )
        facts = {
            "seconds": 3.0,
            "inputs": f"inputs of {checkpoint.encoder}",
            "licence": licence,
            "groups": {f"p{i}": 2 for i in range(number)},
            "values": values,
            "missing": reasons,
        }
        path.with_suffix(".json").write_text(json.dumps({checkpoint.path: facts}))
        files["scores"].append(str(path))
        files["by_group"].append(str(path.with_suffix(".json")))
    return files


def ranked(
    folder: Path, probe: dict[Checkpoint, Any], *, default: str | None = None, by: str | None = None, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any], str]:
    files = score_files(folder, probe, **options)
    table, facts = rank(read_scored(**files), by=by, default=default, notes=[])
    return table.set_index("candidate"), facts, ranking_text("T", facts)


def noise(seed: int, groups: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.02, size=groups)


def test_known_winner_is_told_from_the_default_by_pairs(tmp_path: Path) -> None:
    patients = np.random.default_rng(0).normal(size=12)  # differ far more than the candidates do
    probe = {BAD: patients - 0.4 + noise(1), FAIR: patients - 0.2 + noise(2), GOOD: patients + noise(3)}
    table, facts, words = ranked(tmp_path, probe, default="unet")
    assert table.index.tolist() == ["resnet, pretrained, 90 epochs", "unet, simple, 20 epochs", "unet, random weights"]
    assert facts["choice"]["path"] == GOOD.path and facts["undecided"] == ["resnet, pretrained, 90 epochs"]
    gain = table.loc["resnet, pretrained, 90 epochs"]
    assert gain["gain_low"] < 0.2 < gain["gain_high"] and gain["gain_low"] > 0.1
    assert gain["ci_high"] - gain["ci_low"] > 1  # unpaired, nothing could be told
    assert 0.01 < facts["resolvable"] < 0.1
    assert (
        words.startswith(
            "T, by probe_all and not by Dice, as nothing was fine-tuned: start from resnet, pretrained, 90 epochs."
        )
        and "declared in the config" in words
    )
    assert table["knn"].tolist() == [1.5] * 3 and table["seconds"].tolist() == [3.0] * 3


def test_default_is_the_answer_where_nothing_is_told_from_it(tmp_path: Path) -> None:
    probe = {FAIR: noise(1), GOOD: noise(2) + 0.004, BAD: noise(3) - 1}
    table, facts, words = ranked(tmp_path, probe, default=FAIR.path)
    assert facts["best"]["path"] == GOOD.path and facts["choice"]["path"] == FAIR.path
    assert sorted(facts["undecided"]) == ["resnet, pretrained, 90 epochs", "unet, simple, 20 epochs"]
    assert "fine-tuned: take the default, unet, simple, 20 epochs (declared in the config)." in words
    assert "an interval that includes 0" in words and facts["groups_needed"] > 12 and "if it is real" in words


def test_ties_are_undecided_and_keep_the_order_of_the_config(tmp_path: Path) -> None:
    table, facts, _ = ranked(tmp_path, {FAIR: noise(1), GOOD: noise(1), BAD: noise(1)})
    assert table["undecided"].all() and table.index[0] == "unet, simple, 20 epochs"
    assert table["gain_high"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("accuracy", "default", "why"),
    [
        ({FAIR: 0.7, GOOD: 0.6}, FAIR, "the highest ImageNet accuracy"),
        ({FAIR: 0.7}, FAIR, "the highest ImageNet accuracy, of the 1 whose accuracy is known"),
        ({}, GOOD, "the longest pretraining, as no ImageNet accuracy is known"),
    ],
)
def test_undeclared_default(tmp_path: Path, accuracy: dict[Checkpoint, float], default: Checkpoint, why: str) -> None:
    _, facts, words = ranked(tmp_path, {BAD: noise(1), FAIR: noise(2), GOOD: noise(3)}, accuracy=accuracy)
    assert facts["default"]["path"] == default.path and facts["default"]["why"] == why and why in words


def test_without_labels_the_robustness_score_ranks_but_overrules_no_default(tmp_path: Path) -> None:
    robustness = {FAIR: 0.5 + noise(1), GOOD: 0.2 + noise(2)}  # lower is better
    table, facts, words = ranked(
        tmp_path, {FAIR: None, GOOD: None}, robustness=robustness, missing="needs labels", default="unet"
    )
    assert facts["by"] == "robustness_sound" and facts["missing"] == {"probe_all": "needs labels"}
    assert facts["best"]["path"] == GOOD.path and table["gain_low"].iloc[0] > 0
    assert facts["choice"]["path"] == FAIR.path and "fine-tuned: take the default" in words
    assert "but this score overrules no default; the other one is distinguishable from it" in words
    assert "probe_all (needs labels)" in words and "C9" in words


def test_one_patient_says_nothing(tmp_path: Path) -> None:
    table, facts, words = ranked(tmp_path, {FAIR: [-0.9], GOOD: [-0.1]}, default="unet")
    assert facts["choice"]["path"] == FAIR.path and table["undecided"].all() and facts["resolvable"] is None
    assert table["gain_low"].isna().all() and "How certain this is cannot be said" in words


def test_few_patients_are_warned_of(tmp_path: Path) -> None:
    assert "Warning: 4 patients are few" in ranked(tmp_path, {FAIR: noise(1, 4), GOOD: noise(2, 4)})[2]


def test_single_candidate(tmp_path: Path) -> None:
    table, facts, words = ranked(tmp_path, {FAIR: noise(1)})
    assert facts["choice"]["path"] == FAIR.path and "There is nothing to compare it with." in words


def test_candidate_without_a_value_is_last_and_named(tmp_path: Path) -> None:
    table, facts, words = ranked(
        tmp_path, {BAD: None, FAIR: noise(1), GOOD: noise(2)}, missing="the features are constant"
    )
    assert table.index[-1] == "unet, random weights" and pd.isna(table["place"].iloc[-1])
    assert "the features are constant" in table["warnings"].iloc[-1]
    assert facts["unscored"] == ["unet, random weights"] and "not ranked: unet, random weights" in words
    with pytest.raises(UserError, match="the default has no value"):
        ranked(tmp_path, {BAD: None, FAIR: noise(1)}, missing="constant", default=BAD.path)


def test_random_weights_that_are_as_good_are_named(tmp_path: Path) -> None:
    assert BAD.scheme == "random"
    same = {BAD: noise(1), FAIR: noise(2), GOOD: noise(3) + 0.01}
    assert "Random weights are among these" in ranked(tmp_path / "same", same)[2]
    better = {BAD: noise(1), FAIR: noise(2) + 1, GOOD: noise(3) + 1}
    assert "Random weights are among" not in ranked(tmp_path / "better", better)[2]


def test_unknown_default_and_scores_of_nobody_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean resnet"):
        ranked(tmp_path, {FAIR: noise(1), GOOD: noise(2)}, default="resnt")
    with pytest.raises(UserError, match="no candidate has a value of the score to rank by"):
        ranked(tmp_path, {FAIR: noise(1)}, by="robustness_sound", missing="undefined")


def test_candidates_of_other_images_are_refused(tmp_path: Path) -> None:
    files = score_files(tmp_path, {FAIR: noise(1), GOOD: noise(2, 11)})
    with pytest.raises(UserError, match="scored on other images"):
        read_scored(**files)
    with pytest.raises(UserError, match="candidates have no scores") as error:
        read_scored(**files | {"candidates": [FAIR, BAD]})
    assert BAD.path in str(error.value) and FAIR.path not in str(error.value).split("where:")[0]


@pytest.mark.parametrize(("groups", "classes"), [(12, ["vessel"]), (1, [])])
def test_job_writes_everything(tmp_path: Path, groups: int, classes: list[str]) -> None:
    files = score_files(
        tmp_path / "scores", {BAD: noise(1, groups), FAIR: noise(2, groups), GOOD: noise(3, groups) + 1}
    )
    lost = {name: {"train": [2, 1200], "test": [1, 4]} for name in classes}
    card = {"groups": "unknown", "classes": classes, "image_size": 64, "lost_lesions": lost, "copies": 2 * len(classes)}
    counts = {"train": {"groups": groups, "cases": 20, "items": 20 if classes else 300}}  # pictures, or volumes
    (tmp_path / "card.json").write_text(json.dumps(card | {"counts": counts}))
    names = {
        "table": "ranking.csv",
        "facts": "ranking.json",
        "pdf": "r.pdf",
        "png": "r.png",
        "text": "a.txt",
        "snippet": "f.yaml",
    }
    outputs = {key: str(tmp_path / name) for key, name in names.items()}
    every: dict[str, Any] = {**files, **outputs, "warnings": ["The images are generated."]}
    rank_target(target="T", run="mine", card=tmp_path / "card.json", by=None, default=None, shortest=5, **every)
    assert len(pd.read_csv(outputs["table"])) == 3
    words = Path(outputs["text"]).read_text()
    assert "which images are of one patient is not known" in words and ("leakage" in words) == bool(classes)
    first, *_, last = words.strip().split("\n\n")
    assert first.startswith("T, by ") and last.endswith("The images are generated.")
    sizes = "At 64 pixels, lesions (connected regions) are lost: vessel 3 of 1,204 (train 2 of 1,200, test 1 of 4)."
    assert (sizes in words) == bool(classes)
    assert ("Warning: 2 images are stored under two or more patients or splits, and the probe" in words) == bool(
        classes
    )
    assert re.search(rf"{'images' if classes else 'slices'} of {groups} patient", words)
    with Image.open(outputs["png"]) as image:
        assert image.width > 1000
    snippet = Path(outputs["snippet"]).read_text()
    assert "encoders: [resnet]" in snippet and ("no masks yet" in snippet) != bool(classes)
    assert f"--configfile <those of run mine> {outputs['snippet']}\n" in snippet


def test_inputs_of_every_candidate_are_in_table_and_answer(tmp_path: Path) -> None:
    table, facts, words = ranked(tmp_path, {FAIR: noise(1), GOOD: noise(2), BAD: noise(3)})
    assert table["inputs"].to_dict() == {name: f"inputs of {name.partition(',')[0]}" for name in table.index}
    assert facts["inputs"] == {"inputs of unet": ["unet"], "inputs of resnet": ["resnet"]}
    assert "inputs of unet (unet); inputs of resnet (resnet)." in words


@pytest.mark.parametrize(
    ("licence", "words"), [("cc-by-nc-4.0", "cc-by-nc-4.0 (resnet)"), (None, "not known here (resnet)")]
)
def test_licences_of_weights_from_elsewhere_are_in_the_answer(tmp_path: Path, licence: str | None, words: str) -> None:
    _, facts, text = ranked(tmp_path, {FAIR: noise(1), GOOD: noise(2), BAD: noise(3)}, licence=licence)
    assert f"Licences of weights from elsewhere: {words}. Whether these images were" in text
    assert "Licences" not in ranked(tmp_path / "own", {FAIR: noise(1), BAD: noise(3)})[2]
    released = Checkpoint("unet", "simple", 0, 20)  # of the study
    text = ranked(tmp_path / "released", {released: noise(1), BAD: noise(3)}, licence="cc-by-4.0, gated: its terms")[2]
    assert "Licences of weights from elsewhere: cc-by-4.0, gated: its terms (unet)." in text
