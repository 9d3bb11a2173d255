"""The job that ranks the candidates of one target, and the config that fine-tunes the one to take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow.lib.data.lost import lost_lesions
from workflow.lib.job.run import atomic_path, read_json, write_json
from workflow.lib.rank.figure import draw_ranking
from workflow.lib.rank.ranking import rank, ranking_text
from workflow.lib.rank.table import read_scored
from workflow.lib.study.checkpoints import GIVEN, RANDOM, Checkpoint

LEAKAGE = ", and the probe is evaluated on patients that it was trained on (leakage)"
NOTES = {  # by what the groups of the target's card come from
    "unknown": "Warning: which images are of one patient is not known, so that each counts as one. If some are, all intervals "
    "are too narrow{leakage}: name the patients (`group` of this target).",
    "sub-folders": "The sub-folders of images/ are treated as patients: if they are classes or sites, name the patients "
    "(`group` of this target).",
}


def rank_target(
    *,
    target: str,
    run: str,
    candidates: Sequence[tuple[str, str, int, int]],
    scores: Sequence[str],
    by_group: Sequence[str],
    card: str | Path,
    by: str | None,
    default: str | None,
    shortest: int,
    warnings: Sequence[str],
    table: str,
    facts: str,
    pdf: str,
    png: str,
    text: str,
    snippet: str,
) -> None:
    """Write ranking.csv (`table`), ranking.json (`facts`), the figure, the answer (`text`) and finetune.yaml (`snippet`).

    candidates: encoder, scheme, pretraining seed and epochs of each; scores, by_group: their score files; card: of the
    prepared target; shortest: the least length > 0 of the config; warnings: what the answer must say too. Raises as
    `read_scored` and `rank`.
    """
    data = read_json(card)
    masks = data["classes"] != []
    notes = [NOTES[kind].format(leakage=LEAKAGE * masks) for kind in NOTES if kind == data.get("groups")]
    if data["copies"]:
        notes.append(
            f"Warning: {data['copies']} images are stored under two or more patients or splits{LEAKAGE * masks}: "
            f"remove the copies, or give them one patient (column copy_of of {Path(card).parents[1] / 'images.csv'})."
        )
    if lost := lost_lesions(data["lost_lesions"]):
        notes.append(f"At {data['image_size']} pixels, lesions (connected regions) are lost: {'; '.join(lost)}.")
    notes += warnings
    scored = read_scored([Checkpoint(*candidate) for candidate in candidates], scores, by_group)
    volumes = any(part["items"] > part["cases"] for part in data["counts"].values())
    ranking, found = rank(scored, by=by, default=default, notes=notes, kind="slices" if volumes else "images")
    draw_ranking(
        ranking,
        f"{target}: {found['images']} {found['kind']} {_of_patients(data, found['groups'])}",
        pdf=pdf,
        png=png,
        csv=table,
    )
    for path, content in (
        (text, ranking_text(target, found)),
        (snippet, finetune_config(target, run, found["choice"], shortest, snippet, masks=masks)),
    ):
        with atomic_path(path) as temporary:
            temporary.write_text(content)
    write_json(facts, {"target": target, **found})


def _of_patients(card: dict[str, Any], groups: int) -> str:
    return "(patients not known)" if card.get("groups") == "unknown" else f"of {groups} patients"


def finetune_config(target: str, run: str, choice: dict[str, Any], shortest: int, path: str, *, masks: bool) -> str:
    """A config, to be written to `path` and to go on top of the run's own, that fine-tunes one candidate on the target; without
    `masks` it says so."""
    lines = [
        f"# Fine-tunes {choice['label']} on {target}. On top of the config files of run {run}, in their order:",
        f"#   snakemake finetune --configfile <those of run {run}> {path}",
        *(["# This target has no masks yet: add them, and `classes` to its entry, first."] if not masks else []),
        f"run: {run if run != target else 'finetuned'}-{target}",
        "study:",
        f"  encoders: [{choice['encoder']}]",
        f"  targets: [{target}]",
    ]
    if choice["scheme"] == RANDOM:
        lines.append(f"  lengths: [0, {shortest}]  # 0: the random weights; a length > 0 is needed beside it")
    else:
        lines.append(f"  lengths: [{choice['epochs']}]")
        if choice["scheme"] != GIVEN:
            lines.append(f"  schemes: [{choice['scheme']}]")
            if choice["pretrain_seed"]:
                lines.append(f"  pretrain_seeds: [{choice['pretrain_seed']}]")
    return "\n".join(lines) + "\n"
