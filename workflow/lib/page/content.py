"""What the page of a run shows: its tables as text, best starts, claims, findings, and the run card."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from workflow.lib.paper.names import SELECTORS, name
from workflow.lib.selection.answer import about_stopping, certainty, with_interval
from workflow.lib.selection.names import ALL, FIXED

# Pool and budget of score_selection_summary.csv, in words.
CONTESTS = {
    ("within_run", "whole"): "lengths of a run",
    ("within_run", "half"): "first half of a run",
    ("all", "whole"): "all checkpoints",
}
ALL_TARGETS = "all targets"
VERDICTS = ["supported", "contradicted", "inconclusive", "not testable with these data"]


def best_starts(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Per target of answer.json: what to start from, in words; the starts not distinguishable from it (none where no interval
    says so); and a row per fine-tuning mode, without columns that are empty in all."""
    starts = [
        {
            "target": target,
            "start": found["start"]["label"],
            "dice": with_interval(found["dice"]),
            "certainty": certainty(found)[:1].upper() + certainty(found)[1:] + ".",
            "near": [start["label"] for start in found["confidence_set"]] if found["dice"]["low"] is not None else [],
            "modes": pd.DataFrame([_mode(mode, part) for mode, part in found["modes"].items()]),
        }
        for target, found in answer["targets"].items()
    ]
    rows = pd.concat([one["modes"] for one in starts])
    empty = [title for title in rows if (rows[title] == "").all()]
    return [one | {"modes": one["modes"].drop(columns=empty)} for one in starts]


def _mode(mode: str, found: dict[str, Any]) -> dict[str, str]:
    gains = {"random weights": found["gain_over_random"], "longest pretraining": found["gain_over_longest"]}
    return {
        "Encoder": mode,
        "Best start": found["start"]["label"].rpartition(",")[0],
        "Dice": with_interval(found["dice"]),
        "Seeds": str(found["n_seeds"]),
        **{f"Gain over {than}": with_interval(gain, "+") if gain else "" for than, gain in gains.items()},
    }


def in_short(answer: dict[str, Any], claims: pd.DataFrame) -> list[str]:
    """The sentences below the best starts: early stopping by the score, and the verdicts, counted, where there are any."""
    count = claims["verdict"].value_counts()
    verdicts = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS if verdict in count)
    counted = [f"Verdicts on the {len(claims)} claims of the register: {verdicts}."] if verdicts else []
    return [about_stopping(answer["stopping"]), *counted]


def ranking(downstream: pd.DataFrame, answer: dict[str, Any]) -> pd.DataFrame:
    """All starts of downstream.csv, of each target from the highest Dice down, and whether they are in its confidence set: the
    best start and those not distinguishable from it (unknown where no interval says so)."""
    table = downstream.sort_values(["dataset", "dice_mean"], ascending=[True, False], kind="stable")
    near = {target: _confidence_set(found) for target, found in answer["targets"].items()}
    keys = zip(table["model"], table["scheme"], table["pretrain_seed"], table["epochs"], table["freeze"], strict=True)
    inside = [
        "" if not near[target] else "yes" if _key(*key) in near[target] else "no"
        for target, key in zip(table["dataset"], keys, strict=True)
    ]
    shown = {
        "Target": table["dataset"],
        "Network": table["model"],
        "Encoder": table["freeze"].map(name),
        "Scheme": table["scheme"].where(table["epochs"] > 0, "random weights"),
        "Pretraining seed": table["pretrain_seed"].map(_number),
        "Length": table["epochs"].map(_number),
        "Seeds": table["n_seeds"].map(_number),
        "Dice": _intervals(table, "dice_mean", "dice_ci_low", "dice_ci_high"),
        "In the confidence set": inside,
    }
    if table.loc[table["epochs"] > 0, "pretrain_seed"].nunique() < 2:
        del shown["Pretraining seed"]
    return pd.DataFrame(shown)


def _confidence_set(found: dict[str, Any]) -> set[tuple[Any, ...]]:
    unknown = found["dice"]["low"] is None
    return set() if unknown else {_start_key(start) for start in [found["start"], *found["confidence_set"]]}


def _start_key(start: dict[str, Any]) -> tuple[Any, ...]:
    frozen = start["mode"] == name(True)
    return _key(start["network"], start["scheme"], start["pretrain_seed"], start["epochs"], frozen)


def _key(network: str, scheme: str, pretrain_seed: int, epochs: int, frozen: bool) -> tuple[Any, ...]:
    """A start of a target; random weights belong to no scheme."""
    return (network, scheme if epochs else "random", int(pretrain_seed), int(epochs), bool(frozen))


def selectors(summary: pd.DataFrame) -> pd.DataFrame:
    """What every selector's choice gains or loses, from score_selection_summary.csv; fixed lengths last."""
    table = summary[summary["selector"] != "scratch"]
    table = table.sort_values("selector", key=lambda names: names.str.startswith(FIXED), kind="stable")
    words = [CONTESTS.get((pool, budget), "") for pool, budget in zip(table["pool"], table["budget"], strict=True)]
    shown = {
        "Choice among": words,
        "Target": table["dataset"].where(table["dataset"] != ALL, ALL_TARGETS),
        "Selector": [SELECTORS.get(name, name.replace(FIXED, "fixed length ")) for name in table["selector"]],
        "Dice against the last": _intervals(table, "diff_to_last", "diff_low", "diff_high", "+"),
        "Against a fixed length": _intervals(table, "to_fixed", "to_fixed_low", "to_fixed_high", "+"),
        "Epochs trained": table["epochs_trained"].map(lambda value: _number(value, 0)),
        "Weighted Kendall": table["kendall"].map(lambda value: _number(value, 2)),
        "Goal": table["goal"],
    }
    return pd.DataFrame(shown).astype(object).fillna("")


def judged_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """Every claim with its estimate and verdicts, from claims.csv."""
    shown = {
        "Claim": claims["claim_id"],
        "In words": claims["claim"] + ("\nEstimated: " + claims["estimand"]).fillna(""),
        "Estimate": _intervals(claims, "estimate", "ci_low", "ci_high"),
        "Verdict": claims["verdict"],
        "at 0.0025": claims["verdict_0.0025"],
        "at 0.01": claims["verdict_0.01"],
        "over encoders": claims["verdict_encoders"],
    }
    return pd.DataFrame(shown).astype(object).fillna("")


def decided(claims: pd.DataFrame) -> list[str]:
    """How many claims are supported, contradicted and open, in a sentence; then each that is decided, with its estimate."""
    counts = claims["verdict"].value_counts()
    sure = {verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS[:2]}
    numbers = _intervals(claims, "estimate", "ci_low", "ci_high", "+")
    untested = int(counts.get(VERDICTS[3], 0))
    text = f"Of {len(claims)} claims, {sure[VERDICTS[0]]} supported, {sure[VERDICTS[1]]} contradicted"
    text += f", {untested} not testable with this run (why: note in transfer_claims.csv)" * (untested > 0)
    said = [text + ("; the others stay open." if sum(sure.values()) + untested < len(claims) else ".")]
    return said + [
        f"{verdict.capitalize()}: {claim} Estimate {number} Dice."
        for verdict in VERDICTS[:2]
        for claim, found, number in zip(claims["claim"], claims["verdict"], numbers, strict=True)
        if found == verdict
    ]


def findings(quality: pd.DataFrame) -> pd.DataFrame:
    """What the audit found, from data_quality.csv."""
    titles = {"file": "File", "kind": "Finding", "count": "Count", "where": "Where", "treatment": "Treatment"}
    return quality[list(titles)].rename(columns=titles).fillna("").astype(str)


def dice_of_cases(sheets: pd.DataFrame) -> pd.DataFrame:
    """Dice of the cases that sheets of segmentations show: their CSV files, with a column target."""
    if "start" not in sheets:  # nothing was drawn
        return pd.DataFrame({"Target": sheets["target"], "Note": sheets["note"]})
    sheets = sheets.dropna(subset="start")
    shown = {"Target": sheets["target"], "Case": sheets["case"], "Start": sheets["start"], "Class": sheets["class"]}
    name = {"Name": sheets["name"]} if "name" in sheets else {}
    return pd.DataFrame(
        shown | name | {"Dice": sheets["dice"].map(lambda value: "" if pd.isna(value) else f"{value:.4f}")}
    )


def candidates(ranking: pd.DataFrame) -> pd.DataFrame:
    """Every candidate of a target, from ranking.csv."""
    gains = _intervals(ranking, "gain_over_default", "gain_low", "gain_high", "+")
    shown = {
        "Place": ranking["place"].map(_number),
        "Candidate": ranking["candidate"],
        "Value": _intervals(ranking, "value", "ci_low", "ci_high"),
        "Gain over the default": ["" if here else gain for here, gain in zip(ranking["default"], gains, strict=True)],
        "In the confidence set": ranking["undecided"].map({True: "yes", False: "no"}),
        "Inputs": ranking["inputs"],
        "Seconds": ranking["seconds"].map(lambda value: _number(value, 1)),
        "Warnings": ranking["warnings"],
    }
    return pd.DataFrame(shown).astype(object).fillna("").astype(str)


def run_card(run: str, results: pd.DataFrame, cards: Sequence[dict[str, Any]], protocol: str | None) -> dict[str, str]:
    """What the run was made of, from its fine-tunings (rows of `read_downstream`) and from cards of fine-tunings or of a
    deposited run; `protocol`: where the cards do not name it."""
    pretrained = results[results["epochs"] > 0]
    card = {
        "Run": run,
        "Protocol": _listed([protocol or ""]) or _listed(c.get("protocol") for c in cards),
        "Configuration": _listed(file for c in cards for file in c.get("config", [])),
        "Targets": _listed(results["dataset"]),
        "Networks": _listed(results["model"]),
        "Pretraining runs": str(len(pretrained[["encoder", "scheme", "pretrain_seed"]].drop_duplicates())),
        "Schemes": _listed(pretrained["scheme"]),
        "Lengths": _listed(sorted(set(results["epochs"].astype(int)))),
        "Encoder while fine-tuning": _listed(results["freeze"].map(name)),
        "Fine-tunings": f"{len(results):,}",
        "Fine-tuning seeds": _listed(sorted(set(results["seed"].astype(int)))),
    }
    made = [one for c in cards for one in c.get("runs", [c])]
    hours = sum(one.get("seconds", 0) for one in made) / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    dates = sorted(date for one in made for date in _several(one.get("written", [])))
    card |= {
        "Image size": _listed(f"{one['image_size']} pixels" for one in made if "image_size" in one),
        "Computed in": _listed(kind for one in made for kind in _several(one.get("computed_in", []))),
        "Device": _listed(one.get("device", "") for one in made),
        "Time of fine-tuning": f"{time}, all jobs together" if hours else "",
        "Versions": _listed(f"{package} {v}" for one in made for package, v in one.get("versions", {}).items()),
        "Commit": _listed(one.get("commit", "") for one in made),
        "Made": " to ".join(dict.fromkeys(date[:10] for date in (dates[:1] + dates[-1:]))),
    }
    if not (cards or protocol):
        card["How it was made"] = "only the run's tables are here, which do not say"
    return {title: text for title, text in card.items() if text}


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _listed(values: Any) -> str:
    """Distinct texts in their order; those that are no text or number are left out."""
    return ", ".join(dict.fromkeys(str(value) for value in values if isinstance(value, str | int) and value != ""))


def _number(value: Any, digits: int = 4) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}f}"


def _intervals(table: pd.DataFrame, centre: str, low: str, high: str, sign: str = "") -> list[str]:
    """A column and its interval as text; whole numbers without decimals, empty where there is no number."""
    rows = zip(table[centre], table[low], table[high], strict=True)
    return [
        ""
        if pd.isna(dice)
        else _number(dice)
        if pd.isna(start) and not sign
        else with_interval({"dice": dice, "low": None if pd.isna(start) else start, "high": end}, sign)
        for dice, start, end in rows
    ]
