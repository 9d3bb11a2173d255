"""
This part of the workflow turns the two tables of a run, ours or a published one, into statistics.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv

OUTPUTS:

    <results>/{run}/stats/data_notes.csv, downstream.csv, length_effect.csv, correlations.csv, selection.csv,
        selection_summary.csv, answer.json
    <results>/{run}/answer.txt
"""

DEPOSITED = config["deposited"]
STATS = [
    "data_notes.csv",
    "downstream.csv",
    "length_effect.csv",
    "correlations.csv",
    "selection.csv",
    "selection_summary.csv",
    "answer.json",
]

for run in DEPOSITED:
    check_not_computed(workflow.pathvars.apply(f"<results>/{run}"))


rule deposited_tables:
    """Copy or download the two tables of a run that was done elsewhere, and check them."""
    input:
        tables=deposited_files,
        code=code("stats/deposited_tables.py"),
    output:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
    log:
        "<logs>/stats/deposited_tables-{run}.log",
    benchmark:
        "<benchmarks>/stats/deposited_tables-{run}.tsv"
    wildcard_constraints:
        run="|".join(DEPOSITED) or "(?!)",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="1GB",
        runtime=10,
    params:
        folder=lookup("{run}/folder", within=DEPOSITED, default=None),
        url=lookup("{run}/url", within=DEPOSITED, default=None),
        downstream_sha256=lookup("{run}/sha256/downstream_scores.csv", within=DEPOSITED, default=None),
        robustness_sha256=lookup("{run}/sha256/robustness_scores.csv", within=DEPOSITED, default=None),
    script:
        "../scripts/stats/deposited_tables.py"


rule note_findings:
    """List what was found in the tables (duplicates, missing cells, repeated blocks) and how it is treated."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/note_findings.py"),
    output:
        notes="<results>/{run}/stats/data_notes.csv",
    log:
        "<logs>/stats/note_findings-{run}.log",
    benchmark:
        "<benchmarks>/stats/note_findings-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/note_findings.py"


rule summarise_downstream:
    """Mean Dice per checkpoint and way of fine-tuning, with its interval over fine-tuning seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("stats/summarise_downstream.py"),
    output:
        summary="<results>/{run}/stats/downstream.csv",
    log:
        "<logs>/stats/summarise_downstream-{run}.log",
    benchmark:
        "<benchmarks>/stats/summarise_downstream-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/summarise_downstream.py"


rule compare_lengths:
    """Test in every curve of Dice against length whether a shorter pretraining beats the longest."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("stats/compare_lengths.py"),
    output:
        effect="<results>/{run}/stats/length_effect.csv",
    log:
        "<logs>/stats/compare_lengths-{run}.log",
    benchmark:
        "<benchmarks>/stats/compare_lengths-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/compare_lengths.py"


rule correlate_predictors:
    """Correlate what is known before fine-tuning (accuracy, epochs, robustness scores) with Dice."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/correlate_predictors.py"),
    output:
        correlations="<results>/{run}/stats/correlations.csv",
    log:
        "<logs>/stats/correlate_predictors-{run}.log",
    benchmark:
        "<benchmarks>/stats/correlate_predictors-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/correlate_predictors.py"


rule selection:
    """Dice lost or gained by stopping pretraining where a rule says."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/selection.py"),
    output:
        selection="<results>/{run}/stats/selection.csv",
        means="<results>/{run}/stats/selection_summary.csv",
    log:
        "<logs>/stats/selection-{run}.log",
    benchmark:
        "<benchmarks>/stats/selection-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/selection.py"


rule answer:
    """Say in plain words which checkpoint is the best start, and how sure that is."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        means="<results>/{run}/stats/selection_summary.csv",
        code=code("stats/answer.py"),
    output:
        answer="<results>/{run}/stats/answer.json",
        text=report(
            "<results>/{run}/answer.txt", caption="../report/answer.rst", category="Answer", labels={"run": "{run}"}
        ),
    log:
        "<logs>/stats/answer-{run}.log",
    benchmark:
        "<benchmarks>/stats/answer-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/answer.py"
