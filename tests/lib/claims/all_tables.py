"""The tables of a run, made by the workflow's own functions."""

from pathlib import Path

from workflow.lib.claims import claims
from workflow.lib.curves import correlation, effect, noise, summary
from workflow.lib.selection import replay, score_selection
from workflow.lib.selection import summary as selection
from workflow.lib.tables import audit

REGISTER = Path(__file__).parents[3] / "workflow/registry/claims.tsv"
NAMES = ["data_quality", "downstream", "length_effect", "noise_ceiling", "variance", "correlations", "selection"]
NAMES += ["selection_summary", "claims"]
JUDGED = ["replay", "replay_summary", "score_selection", "score_selection_summary"]


def write_tables(downstream: Path, robustness: Path, folder: Path) -> dict[str, Path]:
    """All tables but those of `write_judged`, in `folder`; their paths by name."""
    path = {name: folder / f"{name}.csv" for name in NAMES}
    audit.write_audit(downstream, robustness, path["data_quality"], folder / "data_quality.txt")
    summary.write_downstream(downstream, path["downstream"])
    effect.write_length_effect(downstream, path["length_effect"])
    noise.write_noise_ceiling(downstream, path["noise_ceiling"])
    noise.write_variance(downstream, path["variance"])
    correlation.write_correlations(downstream, robustness, path["correlations"])
    selection.write_selection(downstream, robustness, path["selection"], path["selection_summary"])
    made = (path["length_effect"], path["correlations"], path["selection"])
    claims.write_claims(downstream, robustness, *made, path["claims"], REGISTER)
    return path


def write_judged(downstream: Path, robustness: Path, transferability: Path | None, folder: Path) -> dict[str, Path]:
    """The tables of stopping rules and of scores as selectors, in `folder`; their paths by name."""
    path = {name: folder / f"{name}.csv" for name in JUDGED}
    inputs = (downstream, robustness, transferability, None)
    replay.write_replay(*inputs, path["replay"], path["replay_summary"])
    score_selection.write_score_selection(*inputs, path["score_selection"], path["score_selection_summary"])
    return path
