"""How scores rank a pool: known orders, what chance does, and a pool too small."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflow.lib.pool.judge import LARGEST, RANDOM, judge_pool, pool_members, write_pool
from workflow.lib.tables.headed import read_table
from workflow.lib.transfer.effects import EVERYWHERE

QUALITY = {"A": 0.1, "B": 0.3, "C": 0.2}


def transfer() -> pd.DataFrame:
    """Networks of three sources and two seeds, fine-tuned on all three data sets."""
    rows: list[dict[str, Any]] = []
    for target, source, run, seed in itertools.product(QUALITY, QUALITY, (1, 2), (1, 2)):
        dice = 0.5 + QUALITY[source] + 0.01 * run + 0.001 * seed
        rows.append(
            {"dataset": target, "encoder": "unet", "scheme": f"from_{source}", "task": "segmentation", "source": source}
            | {"pretrain_seed": run, "epochs": 10, "images": 5 if source == "A" else 3}
            | {"freeze": False, "transfer": "both", "patients": 0, "dice": dice, "seed": seed}
        )
    return pd.DataFrame(rows)


def scores(members: pd.DataFrame, **values: Any) -> pd.DataFrame:
    names = members[["dataset", "encoder", "scheme", "pretrain_seed"]]
    parts = [names.assign(features="decoder", score=name, level=np.nan, value=found) for name, found in values.items()]
    return pd.concat(parts, ignore_index=True)


def test_networks_are_not_judged_on_what_they_were_trained_on() -> None:
    members = pool_members(transfer())
    assert len(members) == 3 * 2 * 2 and (members["dataset"] != members["source"]).all()
    assert members.loc[members["source"] == "A", "images"].unique().tolist() == [5]


def test_given_networks_join_the_pool_of_all_encoders() -> None:
    table = transfer()
    mine = table[(table["dataset"] == "A") & (table["source"] == "B")].head(1)
    mine = mine.assign(encoder="mine", scheme="pretrained", task="given", source="", pretrain_seed=0, images=np.nan)
    members = pool_members(pd.concat([table, mine.assign(epochs=0, dice=0.99)]))
    assert members.loc[members["encoder"] == "mine", ["source", "dice"]].values.tolist() == [["mine", 0.99]]
    found = judge_pool(members, scores(members, good=members["dice"])).set_index(["dataset", "encoder", "score"])
    assert found.loc[("A", "all encoders", "good"), ["n_models", "n_sources", "regret"]].tolist() == [5, 3, 0]
    assert ("A", "all encoders", LARGEST) not in found.index, "nobody knows how many images it was trained on"
    assert found.loc[("A", "unet", "good"), "n_models"] == 4 and ("A", "mine", "good") not in found.index


def test_score_and_dice_are_of_the_longest_length_of_every_network(tmp_path: Path) -> None:
    """Also where sources have unlike numbers of images, and scores are of longer pretrainings that are not fine-tuned."""
    both = pd.concat([transfer(), transfer().assign(epochs=3, dice=0.1)])
    assert pool_members(both).equals(pool_members(transfer()))

    given = both.assign(seconds=1.0, images_seen=100.0, validation="0.5", classes_lacking="")
    given.to_csv(tmp_path / "transfer.csv", index=False)
    files = []
    for source in QUALITY:
        names: dict[str, Any] = {
            "target": "A",
            "encoder": "unet",
            "scheme": f"from_{source}",
            "sample": "balanced",
            "score": "knn",
        }
        rows = [
            names | {"pretrain_seed": run, "epochs": epochs, "better": "higher", "level": 1.0, "value": value}
            for run in (1, 2)
            for epochs, value in ((3, 0.0), (10, QUALITY[source] + 0.01 * run), (300, -QUALITY[source]))
        ]
        files.append(str(tmp_path / f"{source}.csv"))
        pd.DataFrame(rows).to_csv(files[-1], index=False)
    write_pool(
        transfer=tmp_path / "transfer.csv",
        decoders={},
        encoders=files,
        output=tmp_path / "pool.csv",
        matrix=tmp_path / "members.csv",
    )
    table = read_table(tmp_path / "pool.csv").set_index(["dataset", "score"])
    assert table.loc[("A", "knn"), ["pearson", "regret"]].tolist() == pytest.approx([1, 0])


def test_a_given_network_is_tuned_and_drops_no_frozen_one() -> None:
    frozen = transfer().assign(freeze=True)
    mine = transfer().head(1).assign(encoder="mine", task="given", dataset="B", images=np.nan)
    assert len(pool_members(pd.concat([frozen, mine]))) == len(pool_members(frozen)) + 1


def test_good_and_bad_orders() -> None:
    members = pool_members(transfer())
    found = judge_pool(members, scores(members, good=members["dice"], bad=-members["dice"], flat=1.0))
    table = found[found["dataset"] == "A"].set_index("score")
    assert table.loc["good", ["pearson", "kendall", "regret"]].tolist() == pytest.approx([1, 1, 0])
    assert table.loc["bad", "regret"] == pytest.approx(0.11) and table.loc["bad", "kendall"] == pytest.approx(-1)
    assert table["pearson_low"].isna().all(), "two sources allow no interval"
    assert table.loc["flat", "regret"] == pytest.approx(table.loc[RANDOM, "regret"])
    assert table.loc["good", "chance"] == pytest.approx(1 / 24) and table.loc["good", "n_sources"] == 2
    # On B and C the largest source is A, the worst.
    assert found[(found["dataset"] == "B") & (found["score"] == LARGEST)]["regret"].iloc[0] == pytest.approx(
        0.105, abs=0.01
    )
    mean = found[found["dataset"] == EVERYWHERE].set_index("score")
    assert (
        mean.loc["good", "regret"] == 0 and mean.loc["bad", "low"] < mean.loc["bad", "regret"] < mean.loc["bad", "high"]
    )


def test_a_score_without_a_value_for_a_network_ranks_nothing() -> None:
    members = pool_members(transfer())
    broken = scores(members, broken=members["dice"].where(members["scheme"] != "from_B"))
    found = judge_pool(members, broken)
    assert set(found.loc[found["score"] == "broken", "dataset"]) == {"B"}, "where its own networks are not in the pool"


def test_a_pool_of_one_is_not_judged() -> None:
    rows = transfer()
    alone = pool_members(rows[(rows["source"] == "A") & (rows["pretrain_seed"] == 1)])
    assert judge_pool(alone, scores(alone, good=alone["dice"])).empty
