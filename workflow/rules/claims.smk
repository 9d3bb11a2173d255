"""
This part of the workflow tests which claims of the register hold for a run, and whether it reproduces the study's release.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv
    <results>/{run}/tables/length_effect.csv, correlations.csv, selection.csv
    workflow/registry/claims.tsv

OUTPUTS:

    <results>/{run}/tables/claims.csv, .tex
    <results>/{run}/tables/reproduction.csv, .tex     (on request: the run against the study's release)
"""


rule judge_claims:
    """Judge every claim of the register on the run's data, and on what three of its tables say of them."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        length_effect="<results>/{run}/tables/length_effect.csv",
        correlations="<results>/{run}/tables/correlations.csv",
        selection="<results>/{run}/tables/selection.csv",
        registry=CLAIMS,
        code=code("claims/judge_claims.py"),
    output:
        table=report(
            "<results>/{run}/tables/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "claims", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/claims.tex",
    log:
        "<logs>/claims/judge_claims-{run}.log",
    benchmark:
        "<benchmarks>/claims/judge_claims-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        released=lambda wildcards: wildcards.run == "published",  # the register was written for these
    script:
        "../scripts/claims/judge_claims.py"


rule compare_runs:
    """Compare the run with the study's release, cell by cell."""
    input:
        ours="<results>/{run}/downstream_scores.csv",
        theirs="<results>/published/downstream_scores.csv",
        code=code("claims/compare_runs.py"),
    output:
        table="<results>/{run}/tables/reproduction.csv",
        tex="<results>/{run}/tables/reproduction.tex",
    log:
        "<logs>/claims/compare_runs-{run}.log",
    benchmark:
        "<benchmarks>/claims/compare_runs-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/claims/compare_runs.py"
