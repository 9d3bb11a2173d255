"""Claims on tasks, decoders and few patients: plainly true and plainly false ones, and too little to say."""

from pathlib import Path

import pandas as pd
import pytest

from tests.lib.transfer.test_transfer_tables import table
from workflow.lib.claims.transfer import transfer_claims, write_transfer_claims
from workflow.lib.evidence.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED
from workflow.lib.tables.headed import read_table

REGISTRY = Path(__file__).parents[3] / "workflow/registry/claims_transfer.tsv"


def verdicts(frame: pd.DataFrame, tmp_path: Path) -> pd.Series:
    curves = frame["validation"].map(lambda curve: " ".join(map(str, curve)))
    frame.assign(validation=curves).to_csv(tmp_path / "transfer_scores.csv", index=False)
    write_transfer_claims(tmp_path / "transfer_scores.csv", tmp_path / "claims.csv", REGISTRY)
    return read_table(tmp_path / "claims.csv").set_index("claim_id")["verdict"]


def test_plain_claims(tmp_path: Path) -> None:
    found = verdicts(table(), tmp_path)
    assert (found[["D1", "D2", "D3"]] == SUPPORTED).all()
    assert found["D5"] == CONTRADICTED, "the gains of the table are the same on few patients"
    assert (found[["D4", "D6"]] == UNTESTED).all(), "there is no reconstruction, and no contrast"


def test_a_decoder_that_helps_contradicts(tmp_path: Path) -> None:
    frame = table()
    frame.loc[frame["transfer"] == "both", "dice"] += 0.05
    assert verdicts(frame, tmp_path)["D2"] == CONTRADICTED


def test_a_gain_on_few_patients_in_one_draw_is_inconclusive(tmp_path: Path) -> None:
    frame = table()
    lucky = (frame["transfer"] == "encoder") & (frame["patients"] > 0) & (frame["draw"] == 1)
    frame.loc[lucky, "dice"] += 0.3
    assert verdicts(frame, tmp_path)["D5"] == INCONCLUSIVE


def test_a_frozen_encoder_decides_nothing(tmp_path: Path) -> None:
    frozen = table().assign(freeze=True, dice=0.9)
    frozen.loc[frozen["transfer"] == "none", "dice"] = 0.1
    assert (verdicts(frozen, tmp_path) == UNTESTED).all()
    alone, beside = transfer_claims(table()), transfer_claims(pd.concat([table(), frozen]))
    assert {name: found.estimate for name, found in beside.items() if found.testable} == {
        name: found.estimate for name, found in alone.items() if found.testable
    }


def test_noise_and_few_runs(tmp_path: Path) -> None:
    assert verdicts(table(noise=0.3), tmp_path)["D2"] == INCONCLUSIVE
    few = table()
    assert (verdicts(few[few["pretrain_seed"] < 3], tmp_path) == UNTESTED).all()


def test_tasks_are_compared_on_the_same_images_only() -> None:
    frame = table()
    other = frame[frame["task"] == "segmentation"].assign(task="reconstruction", scheme="reconstruction")
    frame = pd.concat([frame, other])
    assert transfer_claims(frame)["D4"].estimate == pytest.approx(0.04, abs=0.002)
    frame.loc[frame["task"] == "reconstruction", "source"] = "elsewhere"
    assert not transfer_claims(frame)["D4"].testable
