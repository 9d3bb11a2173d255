"""
This part of the workflow asks what the numbers of a run say: what ranks checkpoints, what choosing by it costs, which claims hold.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv

OUTPUTS:

    <results>/{run}/tables/correlations.csv, selection.csv, selection_summary.csv, claims.csv
    <results>/{run}/tables/reproduction.csv   (on request: the run against the study's release)
    <results>/{run}/answer.json, answer.txt
"""


rule correlate_predictors:
    """Correlate what is known before fine-tuning (accuracy, epochs, robustness scores) with Dice."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/correlate_predictors.py"),
    output:
        table="<results>/{run}/tables/correlations.csv",
    log:
        "<logs>/stats/correlate_predictors-{run}.log",
    benchmark:
        "<benchmarks>/stats/correlate_predictors-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/correlate_predictors.py"


rule select_checkpoints:
    """Dice lost or gained by taking the checkpoint that a rule says."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/select_checkpoints.py"),
    output:
        table="<results>/{run}/tables/selection.csv",
        means=report(
            "<results>/{run}/tables/selection_summary.csv",
            caption="../report/selection_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "selectors"},
        ),
    log:
        "<logs>/stats/select_checkpoints-{run}.log",
    benchmark:
        "<benchmarks>/stats/select_checkpoints-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="4GB",
        runtime=10,
    script:
        "../scripts/stats/select_checkpoints.py"


rule judge_claims:
    """Judge every claim of the register on the run's data."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/judge_claims.py"),
    output:
        table=report(
            "<results>/{run}/tables/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"run": "{run}", "table": "claims"},
        ),
    log:
        "<logs>/stats/judge_claims-{run}.log",
    benchmark:
        "<benchmarks>/stats/judge_claims-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="4GB",
        runtime=10,
    script:
        "../scripts/stats/judge_claims.py"


rule compare_runs:
    """Compare the run with the study's release, cell by cell."""
    input:
        ours="<results>/{run}/downstream_scores.csv",
        theirs="<results>/published/downstream_scores.csv",
        code=code("stats/compare_runs.py"),
    output:
        table="<results>/{run}/tables/reproduction.csv",
    log:
        "<logs>/stats/compare_runs-{run}.log",
    benchmark:
        "<benchmarks>/stats/compare_runs-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/compare_runs.py"


rule answer:
    """Say in plain words which checkpoint is the best start, and how sure that is."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        means="<results>/{run}/tables/selection_summary.csv",
        code=code("stats/answer.py"),
    output:
        table="<results>/{run}/answer.json",
        text=report(
            "<results>/{run}/answer.txt",
            caption="../report/answer.rst",
            category="Answer",
            labels={"run": "{run}", "table": "answer"},
        ),
    log:
        "<logs>/stats/answer-{run}.log",
    benchmark:
        "<benchmarks>/stats/answer-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/answer.py"
