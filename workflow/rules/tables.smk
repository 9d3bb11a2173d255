"""
This part of the workflow makes the tables of a run, by which everything that follows knows it, and checks them.

REQUIRED INPUTS:

    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/card.json, cases.csv
    <run>/scores/{target}/{encoder}/{pretraining}.csv           pretraining: {scheme}/seed{pretrain_seed}, or random
    <data>/{target}/{variant}/items.csv
    of runs that were done elsewhere: the two tables under `deposited` in the config

OUTPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv
    <run>/transferability_scores.csv, patient_scores.csv.gz
    <results>/{run}/tables/data_quality.csv, .txt, .tex
"""

for run in DEPOSITED:
    check_not_computed(workflow.pathvars.apply(f"<results>/{run}"))


if config["run"] not in config["deposited"]:  # the tables of deposited runs exist already

    rule gather_tables:
        """Write the run's tables, in the column names of the study's release."""
        input:
            cards=finetune_files(everything=False),
            scores=score_files(),
            groups=collect("<data>/{target}/{variant}/items.csv", target=GRID["targets"], variant=VARIANT),
            code=code("tables/gather_tables.py"),
        output:
            downstream="<run>/downstream_scores.csv",
            robustness="<run>/robustness_scores.csv",
            transferability="<run>/transferability_scores.csv",
            patients="<run>/patient_scores.csv.gz",
        log:
            f"<logs>/tables/gather_tables-{config['run']}.log",
        benchmark:
            f"<benchmarks>/tables/gather_tables-{config['run']}.tsv"
        localrule: True
        conda:
            "../../envs/paper.yaml"
        params:
            schemes=own_schemes(),
            networks={name: config["encoders"][name]["network"] for name in GRID["encoders"]},
            score=SCORE[PROTOCOL["robustness"]],
            seeds=GRID["finetune_seeds"],
            study=GRID,  # so that a smaller grid makes the tables again
        script:
            "../scripts/tables/gather_tables.py"


rule deposited_tables:
    """Copy or download the two tables of a run that was done elsewhere, and check them."""
    input:
        tables=deposited_files,
        code=code("tables/deposited_tables.py"),
    output:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
    log:
        "<logs>/tables/deposited_tables-{run}.log",
    benchmark:
        "<benchmarks>/tables/deposited_tables-{run}.tsv"
    wildcard_constraints:
        run="|".join(DEPOSITED) or "(?!)",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        # `output` keeps Snakemake from tracking the place: the same tables from elsewhere are not taken again.
        folder=lambda wildcards, output: DEPOSITED[wildcards.run]["folder"],
        url=lambda wildcards, output: DEPOSITED[wildcards.run]["url"],
        tables=lambda wildcards: deposited_as(DEPOSITED[wildcards.run]),
        downstream_sha256=lookup("{run}/sha256/downstream_scores.csv", within=DEPOSITED, default=None),
        robustness_sha256=lookup("{run}/sha256/robustness_scores.csv", within=DEPOSITED, default=None),
    script:
        "../scripts/tables/deposited_tables.py"


rule audit_tables:
    """Check the run's two tables: duplicates, missing cells, repeated blocks, ranges, labels."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("tables/audit_tables.py"),
    output:
        table="<results>/{run}/tables/data_quality.csv",
        text=report(
            "<results>/{run}/tables/data_quality.txt",
            caption="../report/data_quality.rst",
            category="Tables",
            labels={"table": "data quality", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/data_quality.tex",
    log:
        "<logs>/tables/audit_tables-{run}.log",
    benchmark:
        "<benchmarks>/tables/audit_tables-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/tables/audit_tables.py"
