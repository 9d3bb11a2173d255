"""
This part of the workflow asks what stopping rules and scores would have been worth, on the finished curves of a run.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv
    <results>/{run}/transferability_scores.csv, patient_scores.csv.gz   (of deposited runs: where their folder has them)

OUTPUTS:

    <results>/{run}/tables/replay.csv, replay_summary.csv, score_selection.csv, score_selection_summary.csv
    <results>/{run}/figures/replay.pdf, .png, .csv, score_selection.pdf, .png, .csv
"""


rule replay_stopping:
    """Apply stopping rules to the finished curves: epochs saved, Dice lost."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        transferability=of_run("transferability_scores.csv"),
        patients=of_run("patient_scores.csv.gz"),
        code=code("stats/replay_stopping.py"),
    output:
        table="<results>/{run}/tables/replay.csv",
        means=report(
            "<results>/{run}/tables/replay_summary.csv",
            caption="../report/replay_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "stopping rules"},
        ),
    log:
        "<logs>/stats/replay_stopping-{run}.log",
    benchmark:
        "<benchmarks>/stats/replay_stopping-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="4GB",
        runtime=20,
    script:
        "../scripts/stats/replay_stopping.py"


rule judge_scores:
    """Judge every score as a selector of checkpoints, its free choices made on the other data sets."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        transferability=of_run("transferability_scores.csv"),
        patients=of_run("patient_scores.csv.gz"),
        code=code("stats/judge_scores.py"),
    output:
        table="<results>/{run}/tables/score_selection.csv",
        means=report(
            "<results>/{run}/tables/score_selection_summary.csv",
            caption="../report/score_selection_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "scores as selectors"},
        ),
    log:
        "<logs>/stats/judge_scores-{run}.log",
    benchmark:
        "<benchmarks>/stats/judge_scores-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="4GB",
        runtime=20,
    script:
        "../scripts/stats/judge_scores.py"


rule figure_replay:
    """Draw epochs saved against Dice lost, for every stopping rule."""
    input:
        replay_summary="<results>/{run}/tables/replay_summary.csv",
        code=code("paper/figure_replay.py"),
    output:
        pdf="<results>/{run}/figures/replay.pdf",
        png=report(
            "<results>/{run}/figures/replay.png",
            caption="../report/replay.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "stopping rules"},
        ),
        csv="<results>/{run}/figures/replay.csv",
    log:
        "<logs>/paper/figure_replay-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_replay-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_replay.py"


rule figure_score_selection:
    """Draw what every score gains or loses as a selector, beside the baselines."""
    input:
        score_selection_summary="<results>/{run}/tables/score_selection_summary.csv",
        code=code("paper/figure_score_selection.py"),
    output:
        pdf="<results>/{run}/figures/score_selection.pdf",
        png=report(
            "<results>/{run}/figures/score_selection.png",
            caption="../report/score_selection.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "scores as selectors"},
        ),
        csv="<results>/{run}/figures/score_selection.csv",
    log:
        "<logs>/paper/figure_score_selection-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_score_selection-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_score_selection.py"
