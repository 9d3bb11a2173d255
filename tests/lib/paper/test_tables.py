"""Tables in LaTeX: what is shown, how numbers look, and that special characters do no harm."""

from pathlib import Path

import pandas as pd

from tests.lib.stats.synthetic_run import write_run
from workflow.lib.paper.tables import COLUMNS, set_table
from workflow.lib.stats import audit, claims, correlation, effect, judgement, noise, replay, selection, summary
from workflow.lib.stats.table import head_of, read_table, write_table


def rows_of(tex: Path) -> list[list[str]]:
    """The cells of the title and of every row."""
    lines = [line for line in tex.read_text().splitlines() if line.endswith(r"\\")]
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def test_all_tables_of_a_run(tmp_path: Path):
    inputs = write_run(tmp_path, targets=("ACDC", "my_x&rays"))
    csv = {name: tmp_path / f"{name}.csv" for name in [*COLUMNS, "correlations"]}
    audit.write_audit(*inputs, csv["data_quality"], tmp_path / "data_quality.txt")
    summary.write_downstream(inputs[0], csv["downstream"])
    effect.write_length_effect(inputs[0], csv["length_effect"])
    noise.write_noise_ceiling(inputs[0], csv["noise_ceiling"])
    noise.write_variance(inputs[0], csv["variance"])
    correlation.write_correlations(*inputs, csv["correlations"])
    selection.write_selection(*inputs, csv["selection"], csv["selection_summary"])
    claims.write_claims(*inputs, csv["claims"])
    replay.write_replay(*inputs, None, None, tmp_path / "replay.csv", csv["replay_summary"])
    judgement.write_judgement(*inputs, None, None, tmp_path / "score_selection.csv", csv["score_selection_summary"])
    for name in csv.keys() - {"reproduction"}:
        tex = tmp_path / f"{name}.tex"
        set_table(name, csv[name], tex)
        title, *rows = rows_of(tex)
        assert (rows or name == "data_quality") and all(len(row) == len(title) for row in rows), name
        text = tex.read_text()
        assert head_of(csv[name]).splitlines()[0] in text and text.count("longtable") == 2
        assert r"my\_x\&rays" in text or name in ("selection_summary", "claims", "data_quality"), name
    assert len(rows_of(tmp_path / "downstream.tex")) - 1 == len(read_table(csv["downstream"]))


def test_numbers_and_words(tmp_path: Path):
    frame = pd.DataFrame(
        {
            "dataset": ["A"],
            "model": ["N"],
            "freeze": [True],
            "scheme": ["s"],
            "best_epochs": [50],
            "best_dice": [0.5],
            "final_epochs": [300],
            "final_dice": [0.51],
            "gain_over_final": [-0.01],
            "p_dunnett": [1e-7],
            "p_holm": [None],
            "honest_gain": [0.002],
            "honest_ci_low": [-0.001],
            "honest_ci_high": [0.005],
        }
    )
    write_table(frame, tmp_path / "t.csv", "What it is.\n100 % & more_less")
    set_table("length_effect", tmp_path / "t.csv", tmp_path / "t.tex")
    row = rows_of(tmp_path / "t.tex")[1]
    assert row == [
        *["A", "N", "frozen", "s", "50", "0.5000", "300", "0.5100", "$-0.0100$", "$<$0.0001", ""],
        *["$+0.0020$", "$-0.0010$", "$+0.0050$"],
    ]
    assert (tmp_path / "t.tex").read_text().startswith("% What it is.\n% 100 % & more_less\n")
