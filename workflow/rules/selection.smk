"""
This part of the workflow chooses checkpoints in every way there is, on the finished curves of a run, and says what that costs.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv
    <results>/{run}/transferability_scores.csv, patient_scores.csv.gz   (of deposited runs: where their folder has them)

OUTPUTS:

    <results>/{run}/tables/selection.csv, .tex, selection_summary.csv, .tex
    <results>/{run}/tables/replay.csv, score_selection.csv; replay_summary.csv, .tex, score_selection_summary.csv, .tex
    <results>/{run}/answer.json, answer.txt
"""


rule select_checkpoints:
    """Dice lost or gained by taking the checkpoint that a rule says."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("selection/select_checkpoints.py"),
    output:
        table="<results>/{run}/tables/selection.csv",
        means=report(
            "<results>/{run}/tables/selection_summary.csv",
            caption="../report/selection_summary.rst",
            category="Tables",
            labels={"table": "selectors", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/selection.tex",
        means_tex="<results>/{run}/tables/selection_summary.tex",
    log:
        "<logs>/selection/select_checkpoints-{run}.log",
    benchmark:
        "<benchmarks>/selection/select_checkpoints-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/selection/select_checkpoints.py"


rule replay_stopping:
    """Apply stopping rules to the finished curves: epochs saved, Dice lost."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        transferability=of_run("transferability_scores.csv"),
        patients=of_run("patient_scores.csv.gz"),
        code=code("selection/replay_stopping.py"),
    output:
        table="<results>/{run}/tables/replay.csv",
        means=report(
            "<results>/{run}/tables/replay_summary.csv",
            caption="../report/replay_summary.rst",
            category="Tables",
            labels={"table": "stopping rules", "run": "{run}"},
        ),
        means_tex="<results>/{run}/tables/replay_summary.tex",
    log:
        "<logs>/selection/replay_stopping-{run}.log",
    benchmark:
        "<benchmarks>/selection/replay_stopping-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/selection/replay_stopping.py"


rule judge_scores:
    """Judge every score as a selector of checkpoints, its free choices made on the other data sets."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        transferability=of_run("transferability_scores.csv"),
        patients=of_run("patient_scores.csv.gz"),
        code=code("selection/judge_scores.py"),
    output:
        table="<results>/{run}/tables/score_selection.csv",
        means=report(
            "<results>/{run}/tables/score_selection_summary.csv",
            caption="../report/score_selection_summary.rst",
            category="Tables",
            labels={"table": "scores as selectors", "run": "{run}"},
        ),
        means_tex="<results>/{run}/tables/score_selection_summary.tex",
    log:
        "<logs>/selection/judge_scores-{run}.log",
    benchmark:
        "<benchmarks>/selection/judge_scores-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/selection/judge_scores.py"


rule answer:
    """Say which checkpoint is the best start, and how certain that is."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        means="<results>/{run}/tables/selection_summary.csv",
        code=code("selection/answer.py"),
    output:
        table="<results>/{run}/answer.json",
        text=report(
            "<results>/{run}/answer.txt",
            caption="../report/answer.rst",
            category="Answer",
            labels={"text": "answer", "run": "{run}"},
        ),
    log:
        "<logs>/selection/answer-{run}.log",
    benchmark:
        "<benchmarks>/selection/answer-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        warnings=lambda wildcards: warnings_of(wildcards.run),
    script:
        "../scripts/selection/answer.py"
