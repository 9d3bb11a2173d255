"""Do scores rank a pool of segmentation networks? For each target those trained on other data, by Dice after fine-tuning."""

from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import pearson, weighted_kendall
from workflow.lib.evidence.intervals import correlation_interval, t_interval
from workflow.lib.job.csv import read_table
from workflow.lib.selection.measures import regret
from workflow.lib.study.checkpoints import BOTH
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.transfer import ALL, read_transfer
from workflow.lib.transfer.effects import EVERYWHERE

MEMBER = ["dataset", "encoder", "scheme", "pretrain_seed"]
MEASURES = ["pearson", "kendall", "regret"]
LARGEST, RANDOM = "largest source", "random"
EVERY_ENCODER = "all encoders"
HEAD = f"""\
Scores as a ranking of the pool: for every target the networks that were trained to segment other data (n_models, of n_sources
data sets: networks of one source are not independent). dice: after fine-tuning encoder and decoder, a mean over seeds.
features: of the decoder or the encoder; level: of the decoder, 1 the deepest; empty, all layers.
pearson, kendall (weighted): of score and Dice over the networks. pearson_low, pearson_high: 95 % interval by Fisher's z with the
sources as units, empty below 4 of them (simulated coverage 94 to 97 % with one network a source, 94 to 100 % with three).
regret: Dice of the best network minus that of the one with the highest score. random: what a blind choice
would lose on average; largest source: the most training images.
Rows of all targets: means, low and high the 95 % t interval of the regret over targets. With few networks Pearson and Kendall are
near -1 or 1 by chance: chance is the probability that a random order has a weighted Kendall as high (500 orders; up to 5
networks all). {EVERY_ENCODER}: all networks of a target, given ones among them, each of which counts as a source of its own.
No number here speaks of other targets, sources or architectures."""


def pool_members(transfer: pd.DataFrame) -> pd.DataFrame:
    """Dice of every network of the pool on every target but its own source, from the table of `read_transfer`: columns of
    `MEMBER`, epochs, source, images (of its source), dice; its longest length, a trainable encoder where there is one, all
    training patients. The source of a given network is the network itself, with an unknown number of images."""
    of_pool = transfer["task"].isin(["segmentation", "given"]) & (transfer["transfer"] == BOTH)
    rows = transfer[of_pool & (transfer["patients"] == ALL)]
    rows = rows.assign(source=rows["source"].where(rows["task"] == "segmentation", rows["encoder"]))
    rows = rows[rows["freeze"] == rows.groupby("encoder")["freeze"].transform("min")]
    rows = rows[rows["epochs"] == rows.groupby(MEMBER)["epochs"].transform("max")]
    members = rows.groupby([*MEMBER, "epochs", "source"], as_index=False)[["dice", "images"]].mean()
    return members[members["dataset"] != members["source"]]


def judge_pool(members: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of tables/pool.csv, see `HEAD`. scores: `MEMBER`, features, score, level, value (higher is better)."""
    rows: list[dict[str, Any]] = []
    pools = [(*names, pool) for names, pool in members.groupby(["dataset", "encoder"])]
    whole = [(name, EVERY_ENCODER, pool) for name, pool in members.groupby("dataset") if pool["encoder"].nunique() > 1]
    for dataset, encoder, pool in [*pools, *whole]:
        if len(pool) < 2:
            continue
        truth = pool["dice"].to_numpy()
        place = {"dataset": dataset, "encoder": encoder, "n_models": len(pool), "n_sources": pool["source"].nunique()}
        blind = {"regret": float(truth.max() - truth.mean()), "pearson": 0.0, "kendall": 0.0}
        rows.append(place | {"score": RANDOM, "features": ""} | blind)
        if pool["images"].notna().all():
            largest = _measured(pool["images"].to_numpy(float), truth, place["n_sources"])
            rows.append(place | {"score": LARGEST, "features": ""} | largest)
        keys = [*MEMBER[1:]]
        known = scores[(scores["dataset"] == dataset) & ((scores["encoder"] == encoder) | (encoder == EVERY_ENCODER))]
        for (features, score, level), part in known.groupby(["features", "score", "level"], dropna=False):
            values = pool[keys].merge(part, on=keys, how="left")["value"].to_numpy(float)
            if np.isfinite(values).all():
                names = {"score": score, "features": features, "level": level}
                rows.append(place | names | _measured(values, truth, place["n_sources"]))
    order = ["dataset", "encoder", "features", "score", "level", "n_models", "n_sources", *MEASURES, "chance"]
    order += ["low", "high", "pearson_low", "pearson_high"]
    table = pd.DataFrame(rows, columns=order)
    return pd.concat([table, _means(table)], ignore_index=True) if len(table) else table


def _measured(values: np.ndarray, truth: np.ndarray, sources: int) -> dict[str, float]:
    if np.ptp(values) == 0 or np.ptp(truth) == 0:  # nothing is ranked: as a blind choice
        return {"pearson": 0.0, "kendall": 0.0, "regret": regret(values, truth), "chance": 1.0}
    kendall = float(weighted_kendall(values[None], truth)[0])
    orders = np.array(list(_orders(len(truth))))
    chance = float((weighted_kendall(np.sort(values)[orders], truth) >= kendall - 1e-9).mean())
    r = float(pearson(values[None], truth)[0])
    low, high = correlation_interval(r, sources)
    numbers = {"pearson": r, "pearson_low": low, "pearson_high": high, "kendall": kendall}
    return numbers | {"regret": regret(values, truth), "chance": chance}


def _orders(n: int) -> Iterable[np.ndarray]:
    """All orders of up to 5 networks; 500 at random of more."""
    if n <= 5:
        return map(np.array, permutations(range(n)))
    rng = np.random.default_rng(0)
    return (rng.permutation(n) for _ in range(500))


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Means over targets of scores that have a value on all, with the t interval of the regret."""
    rows, targets = [], table["dataset"].nunique()
    for (encoder, features, score, level), part in table.groupby(
        ["encoder", "features", "score", "level"], dropna=False
    ):
        if len(part) < targets or targets < 2:
            continue
        low, high = t_interval(part["regret"].to_numpy())
        names = {"dataset": EVERYWHERE, "encoder": encoder, "features": features, "score": score, "level": level}
        numbers = {"n_models": part["n_models"].sum(), "n_sources": part["n_sources"].max(), "low": low, "high": high}
        rows.append(names | numbers | part[MEASURES].mean().to_dict())
    return pd.DataFrame(rows, columns=table.columns)


def write_pool(
    *,
    transfer: str | Path,
    decoders: Mapping[str, str],
    encoders: Iterable[str],
    output: str | Path,
    matrix: str | Path,
) -> None:
    """Write tables/pool.csv and the matrix of sources and targets.

    decoders: files of `score_model`, by target/encoder/scheme/seed; encoders: files of rule score_checkpoints, of whose scores
    the balanced sample at the deepest level counts, or all levels.
    """
    members = pool_members(read_transfer(transfer))
    parts = []
    for names, path in decoders.items():
        dataset, encoder, scheme, seed = names.split("/")
        table = read_table(path)
        sign = np.where(table["better"] == "lower", -1, 1)
        found = {
            "dataset": dataset,
            "encoder": encoder,
            "scheme": scheme,
            "pretrain_seed": int(seed.removeprefix("seed")),
            "features": "decoder",
        }
        parts.append(table[["score", "level"]].assign(value=sign * table["value"], **found))
    for path in encoders:
        table = read_table(path)
        table = table[(table["sample"] == "balanced") | table["score"].str.startswith("cc_fv")]
        deepest = table.groupby(["scheme", "pretrain_seed", "epochs", "score"])["level"].transform("max")
        table = table[table["level"].isna() | (table["level"] == deepest)]
        table = table.merge(members[[*MEMBER[1:], "epochs"]].drop_duplicates())  # scores are of all kept lengths
        sign = np.where(table["better"] == "lower", -1, 1)
        table = table.assign(value=sign * table["value"], level=np.nan, features="encoder")
        columns = {"target": "dataset"}
        parts.append(table.rename(columns=columns)[[*MEMBER, "features", "score", "level", "value"]])
    write_table(judge_pool(members, pd.concat(parts, ignore_index=True)), output, HEAD)
    write_table(
        members,
        matrix,
        "Dice after fine-tuning encoder and decoder of networks trained to segment `source`; means over seeds.",
    )
