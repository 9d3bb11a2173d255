"""Tables in LaTeX: what is shown, how numbers look, and that special characters do no harm."""

from pathlib import Path

import pandas as pd
import pytest

from tests.lib.claims.all_tables import write_judged, write_tables
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.paper.tables import COLUMNS, set_table
from workflow.lib.tables.headed import head_of, read_table, write_table


def rows_of(tex: Path) -> list[list[str]]:
    """The cells of the title and of every row."""
    lines = [line for line in tex.read_text().splitlines() if line.endswith(r"\\")]
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


@pytest.mark.slow
def test_all_tables_of_a_run(tmp_path: Path) -> None:
    inputs = write_run(tmp_path, targets=("ACDC", "my_x&rays"))
    csv = write_tables(*inputs, tmp_path) | write_judged(*inputs, None, tmp_path)
    on_request = {"reproduction", "transfer_effects", "learning_curves", "transfer_claims", "pool"}
    assert csv.keys() == {*COLUMNS, "correlations", "replay", "score_selection"} - on_request
    for name in csv.keys() - {"replay", "score_selection"}:
        tex = tmp_path / f"{name}.tex"
        set_table(name, csv[name], tex)
        title, *rows = rows_of(tex)
        assert (rows or name == "data_quality") and all(len(row) == len(title) for row in rows), name
        text = tex.read_text()
        assert head_of(csv[name]).splitlines()[0] in text and text.count("longtable") == 2
        assert r"my\_x\&rays" in text or name in ("selection_summary", "claims", "data_quality"), name
    assert len(rows_of(tmp_path / "downstream.tex")) - 1 == len(read_table(csv["downstream"]))


def test_numbers_and_words(tmp_path: Path) -> None:
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


def test_digest_of_correlations(tmp_path: Path) -> None:
    """The setting comes from the other target, in hindsight from the row itself; of equal ones the first by name."""
    ranked = {"a": (0.9, 0.1, 0.9), "b": (0.2, 0.8, 0.8)}  # Spearman of the settings x, y, z
    row = {"pool": "within_run", "lengths": ">0", "n": 3, "model": "N", "encoder": "e", "freeze": False}
    setting = {"predictor": "robustness", "metric": "l2_loss", "margin": 0.5, "pooled": True}
    rows = [
        row | setting | {"dataset": target, "setting": "xyz"[i], "level": i, "spearman": value}
        for target, values in ranked.items()
        for i, value in enumerate(values)
    ]
    for predictor in ("imagenet_accuracy", "epochs"):
        rows += [row | {"dataset": target, "predictor": predictor, "spearman": -0.5} for target in ranked]
    write_table(pd.DataFrame(rows), tmp_path / "c.csv", "made up")
    set_table("correlations", tmp_path / "c.csv", tmp_path / "c.tex")
    words = "squared distance, margin 0.5, pooled, level {}"
    assert rows_of(tmp_path / "c.tex")[1:] == [
        [*["a", "N", "trainable", "$-0.50$", "$-0.50$"], *["$+0.10$", words.format(1), "$+0.90$", words.format(0)]],
        [*["b", "N", "trainable", "$-0.50$", "$-0.50$"], *["$+0.20$", words.format(0), "$+0.80$", words.format(1)]],
    ]
