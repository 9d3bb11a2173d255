"""
This part of the workflow checks the two tables of a run, ours or a published one, and describes what they hold.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv

OUTPUTS:

    <results>/{run}/tables/data_quality.csv, .txt, downstream.csv, length_effect.csv, noise_ceiling.csv, variance.csv
"""

DEPOSITED = config["deposited"]

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


rule audit_tables:
    """Check the run's two tables: duplicates, missing cells, repeated blocks, ranges, labels."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("stats/audit_tables.py"),
    output:
        table="<results>/{run}/tables/data_quality.csv",
        text=report(
            "<results>/{run}/tables/data_quality.txt",
            caption="../report/data_quality.rst",
            category="Tables",
            labels={"run": "{run}", "table": "data quality"},
        ),
    log:
        "<logs>/stats/audit_tables-{run}.log",
    benchmark:
        "<benchmarks>/stats/audit_tables-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/audit_tables.py"


rule summarise_downstream:
    """Mean Dice per checkpoint and way of fine-tuning, with its interval over fine-tuning seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("stats/summarise_downstream.py"),
    output:
        table="<results>/{run}/tables/downstream.csv",
    log:
        "<logs>/stats/summarise_downstream-{run}.log",
    benchmark:
        "<benchmarks>/stats/summarise_downstream-{run}.tsv"
    localrule: True
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
        table=report(
            "<results>/{run}/tables/length_effect.csv",
            caption="../report/length_effect.rst",
            category="Tables",
            labels={"run": "{run}", "table": "best length against last"},
        ),
    log:
        "<logs>/stats/compare_lengths-{run}.log",
    benchmark:
        "<benchmarks>/stats/compare_lengths-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/compare_lengths.py"


rule measure_noise:
    """Test in every curve whether its lengths can be told from the noise between seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("stats/measure_noise.py"),
    output:
        table="<results>/{run}/tables/noise_ceiling.csv",
    log:
        "<logs>/stats/measure_noise-{run}.log",
    benchmark:
        "<benchmarks>/stats/measure_noise-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/measure_noise.py"


rule part_variance:
    """Part the variance of Dice into networks, schemes, lengths and seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("stats/part_variance.py"),
    output:
        table="<results>/{run}/tables/variance.csv",
    log:
        "<logs>/stats/part_variance-{run}.log",
    benchmark:
        "<benchmarks>/stats/part_variance-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/stats/part_variance.py"
