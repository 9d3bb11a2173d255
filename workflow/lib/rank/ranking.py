"""The ranking of one target: the table, the facts, and the answer in words. "Take the default" is a valid answer."""

import math
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.job.run import UserError
from workflow.lib.rank.candidates import PROBE, ROBUSTNESS, default_of, label
from workflow.lib.rank.resolve import FOLDS, Comparison, compare, groups_needed
from workflow.lib.rank.table import KEY, Scored
from workflow.lib.study.checkpoints import RANDOM, is_from_elsewhere

FEW = 10  # groups, below which intervals are wide and lean on the normal distribution
WHAT = {
    PROBE: "log probability that a linear probe on the features of all levels gives to the true class of pixels of other "
    "patients (mean in nats, equally many pixels per class)",
    ROBUSTNESS: "distance of the deepest features under colour jitter, relative to other images (cosine distance, margin 0.5, "
    "pooled; lower is better, gains are given as positive)",
}
UNIT = {PROBE: "nats", ROBUSTNESS: "of the score"}
TRUST = {
    PROBE: "A transferability score is not a Dice score: whether its best is also the best after fine-tuning is what "
    "`rank: {confirm: 3}` answers.",
    ROBUSTNESS: "This score needs no labels, and it overrules no default: in the study's released results, early stopping at its "
    "lowest value did not beat the last checkpoint, and it ranked the pretraining lengths worse than their number of epochs "
    "did (claims C9 and C6). With masks for some of the images, in a folder of their own, the probe could rank.",
}
SCOPE = (
    "Intervals: 95 %, for all differences at once, paired over patients. They do not cover other pretraining runs, or other "
    "pixels of the same images."
)
UNKNOWN = "not known here"  # a licence
SEEN = "Whether these images were in their pretraining is not known here; weights that have seen them look better than they are."


def rank(
    scored: Scored, *, by: str | None, default: str | None, notes: list[str], kind: str = "images"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of all candidates, best first, and the facts (JSON) that the answer, the export and the figure are made from.

    by: the score, None: the probe, or the robustness score where it has no value. default: as in the config. notes: what else
    the answer is to say; kind: images, or slices of volumes. Candidates without a value are last. Raises `UserError` where none
    has one, or the default not.
    """
    by, missing = _choose(scored, by)
    candidates = scored.candidates
    names = [label(candidate, candidates) for candidate in candidates]
    accuracy = scored.summaries.get("imagenet_accuracy", pd.Series(math.nan, range(len(names))))
    known = {c: float(a) for c, a in zip(candidates, accuracy, strict=True) if np.isfinite(a)}
    beaten, why = default_of(candidates, default, known)
    values = scored.values[by]
    usable = np.flatnonzero(np.isfinite(values).all(axis=1))
    place = candidates.index(beaten)
    if place not in usable:
        raise UserError(
            "the default has no value of the score to rank by",
            found=f"{names[place]}: {scored.warnings[place] or 'no value'}",
            expected=f"a finite value of {by}",
            where="config: rank.default, rank.by",
            next="set another default, or rank by another score",
        )
    sign = 1 if scored.better[by] == "higher" else -1
    default_row = int(np.flatnonzero(usable == place)[0])
    found = compare(sign * values[usable], default_row, folds=FOLDS if by == PROBE else None)
    undecided = [names[usable[i]] for i in found.order if found.undecided[i]]
    best = usable[found.best]
    choice = place if by == ROBUSTNESS or found.undecided[default_row] else best
    table = _table(scored, names, found, usable, sign, by)
    table["best"], table["default"], table["choice"] = (table["candidate"] == names[i] for i in (best, place, choice))
    licences = zip(candidates, scored.licences, strict=True)
    gain = _interval(found.gain[found.best], found.gain_half[found.best])
    facts = {
        "by": by,
        "better": scored.better[by],
        "missing": missing,
        "images": sum(scored.groups.values()),
        "kind": kind,
        "groups": len(scored.groups),
        "candidates": len(usable),
        "unscored": [name for i, name in enumerate(names) if i not in usable],
        "ranked": [_named(candidates[i], names[i]) for i in usable[found.order]],
        "best": _named(candidates[best], names[best]),
        "default": _named(candidates[place], names[place]) | {"why": why},
        "choice": _named(candidates[choice], names[choice]),
        "gain_of_best": gain,
        "undecided": undecided,
        "resolvable": None if math.isnan(found.resolvable) else found.resolvable,
        "groups_needed": groups_needed(
            float(found.gain[found.best]), float(found.power * found.gain_half[found.best]), len(scored.groups)
        ),
        "inputs": _by_kind(scored, scored.inputs),
        "licences": _by_kind(scored, [of or UNKNOWN if is_from_elsewhere(c) else "" for c, of in licences]),
        "seconds_per_candidate": round(float(np.median(scored.seconds)), 1),
        "notes": notes,
    }
    return table, facts


def _choose(scored: Scored, asked: str | None) -> tuple[str, dict[str, str]]:
    """The score to rank by, and the reasons of those before it that have no values."""
    wanted = [asked] if asked else [PROBE, ROBUSTNESS]
    has = [name for name, values in scored.values.items() if np.isfinite(values).all(axis=1).any()]
    missing = {name: scored.missing[name] for name in wanted if name not in has and name in scored.missing}
    found = [name for name in wanted if name in has]
    if not found:
        raise UserError(
            "no candidate has a value of the score to rank by",
            found="; ".join(f"{name}: {missing.get(name) or 'not computed'}" for name in wanted),
            expected="finite values",
            where="config: rank.by, score.scores",
            next="rank by another score, or give the target masks or more images",
        )
    return found[0], missing


def _table(scored: Scored, names: list[str], found: Comparison, usable: np.ndarray, sign: int, by: str) -> pd.DataFrame:
    """One row a candidate, best first; those without a value last."""
    i = found.order
    table = pd.DataFrame([scored.candidates[j] for j in usable[i]], columns=KEY)
    table.insert(0, "place", range(1, len(i) + 1))
    table.insert(1, "candidate", [names[j] for j in usable[i]])
    table["by"], table["value"] = by, sign * found.value[i]
    table["ci_low"], table["ci_high"] = table["value"] - found.half[i], table["value"] + found.half[i]
    table["gain_over_default"] = found.gain[i]
    table["gain_low"], table["gain_high"] = found.gain[i] - found.gain_half[i], found.gain[i] + found.gain_half[i]
    table["loss_to_best"] = found.loss[i]
    table["loss_low"], table["loss_high"] = found.loss[i] - found.loss_half[i], found.loss[i] + found.loss_half[i]
    table["undecided"] = found.undecided[i]
    rest = [j for j in range(len(names)) if j not in usable]
    last = pd.DataFrame([scored.candidates[j] for j in rest], columns=KEY)
    last["candidate"], last["by"], last["undecided"] = [names[j] for j in rest], by, False
    table = pd.concat([table, last], ignore_index=True).astype({"place": "Int64"}) if rest else table
    order = [*usable[i], *rest]
    extra = scored.summaries.drop(columns=by, errors="ignore").iloc[order].reset_index(drop=True)
    facts = {"seconds": scored.seconds[order]} | {
        name: [values[j] for j in order] for name, values in (("inputs", scored.inputs), ("warnings", scored.warnings))
    }
    return pd.concat([table, extra, pd.DataFrame(facts)], axis=1)


def _by_kind(scored: Scored, kinds: list[str]) -> dict[str, list[str]]:
    """The encoders of each kind ("": of none), which is given for every candidate."""
    found: dict[str, list[str]] = {}
    for candidate, kind in zip(scored.candidates, kinds, strict=True):
        if kind and candidate.encoder not in found.setdefault(kind, []):
            found[kind].append(candidate.encoder)
    return found


def _listed(kinds: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind} ({', '.join(encoders)})" for kind, encoders in kinds.items())


def _named(candidate: Any, name: str) -> dict[str, Any]:
    return candidate._asdict() | {"label": name, "path": candidate.path}


def _interval(value: float, half: float) -> dict[str, float | None]:
    bounds = (None, None) if math.isnan(half) else (float(value - half), float(value + half))
    return {"value": float(value), "low": bounds[0], "high": bounds[1]}


def ranking_text(target: str, facts: dict[str, Any]) -> str:
    """The answer in short paragraphs: which to take; how certain that is; what the score is; inputs and licences; warnings."""
    inputs = []
    if facts["inputs"]:
        inputs.append(f"What the encoders saw, which belongs to their weights: {_listed(facts['inputs'])}.")
    if facts["licences"]:
        inputs.append(f"Licences of weights from elsewhere: {_listed(facts['licences'])}. {SEEN}")
    about = [f"{facts['candidates']} candidates were ranked by {facts['by']}: {WHAT[facts['by']]}.", TRUST[facts["by"]]]
    parts = [
        _choice_in_words(target, facts) + _random(facts),
        _certainty(facts),
        about,
        inputs,
        [*_warnings(facts), *facts["notes"]],
    ]
    return "\n\n".join(" ".join(sentences) for sentences in parts if sentences) + "\n"


def _choice_in_words(target: str, facts: dict[str, Any]) -> list[str]:
    """Which candidate to take, and what it gains."""
    best, default, choice = (facts[key]["label"] for key in ("best", "default", "choice"))
    others, near = facts["candidates"] - 1, [name for name in facts["undecided"] if name != best]
    declared = f"{default} ({facts['default']['why']})"
    start = f"take the default, {declared}" if choice == default else f"start from {choice}"
    start = f"{target}, by {facts['by']} and not by Dice, as nothing was fine-tuned: {start}."
    if others == 0:
        return [start, "There is nothing to compare it with."]
    if best == default:
        return [start, f"It is also the best of them; {_count(len(near), others)}."]
    gain = f"{_shown(facts['gain_of_best'])} {UNIT[facts['by']]}"
    said = f"The best by this score is {best}, by {gain} over the default"
    if choice != default:
        said = f"It beats the default, {declared}, by {gain}"
    elif default in near:
        said += ", an interval that includes 0"
    else:
        said += ", but this score overrules no default"
    return [start, f"{said}; {_count(len(near), others)}."]


def _random(facts: dict[str, Any]) -> list[str]:
    """Whether random weights are as good."""
    untrained = [one["label"] for one in facts["ranked"] if one["scheme"] == RANDOM]
    if facts["best"]["scheme"] == RANDOM or not set(untrained) & set(facts["undecided"]):
        return []
    return ["Random weights are among these: by this score, these images show no benefit of pretraining."]


def _certainty(facts: dict[str, Any]) -> list[str]:
    """What the images can show, and what intervals do not cover."""
    if facts["candidates"] == 1:
        return [SCOPE]
    if facts["resolvable"] is None:
        return [f"How certain this is cannot be said: {_images(facts)} have no spread between patients.", SCOPE]
    text = f"With these {_images(facts)}, the difference of a typical candidate from the best has to be "
    text += f"{facts['resolvable']:.2g} {UNIT[facts['by']]} to be found in 80 % of cases"
    needed = facts["groups_needed"]
    if needed and facts["default"]["label"] in facts["undecided"]:
        text += (
            f"; the gain above, if it is real, takes {_rounded(needed)} patients, by its own spread between patients"
        )
    return [f"{text}.", SCOPE]


def _images(facts: dict[str, Any]) -> str:
    return f"{facts['images']} {facts['kind']} of {facts['groups']} patient{'s' * (facts['groups'] != 1)}"


def _warnings(facts: dict[str, Any]) -> list[str]:
    """What is missing, and few patients."""
    said = []
    if 1 < facts["groups"] < FEW:
        said.append(f"Warning: {facts['groups']} patients are few; intervals over them are approximate.")
    if facts["unscored"]:
        said.append(f"Without a value, and not ranked: {'; '.join(facts['unscored'])}.")
    if reasons := [f"{name} ({why})" if why else name for name, why in facts["missing"].items()]:
        said.append(f"Not available here: {', '.join(reasons)}.")
    return said


def _count(near: int, others: int) -> str:
    """Of the others, how many are within the confidence set of the best."""
    if others == 1:
        return "the other one is not distinguishable from it" if near else "the other one is distinguishable from it"
    some = f"{near} of the {others} others {'is' if near == 1 else 'are'}"
    return f"{some} not distinguishable from it" if near else f"all {others} others are distinguishable from it"


def _shown(value: dict[str, Any]) -> str:
    text = f"{value['value']:.3g}"
    return text if value["low"] is None else f"{text} [{value['low']:.3g}, {value['high']:.3g}]"


def _rounded(count: int) -> str:
    return "more than 10,000" if count > 10_000 else f"about {float(f'{count:.2g}'):,.0f}"
