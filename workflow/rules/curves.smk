"""
This part of the workflow describes the curves of a run, ours or a published one: Dice against length of pretraining.

REQUIRED INPUTS:

    <results>/{run}/downstream_scores.csv, robustness_scores.csv

OUTPUTS:

    <results>/{run}/tables/{name}.csv, .tex   name: downstream, length_effect, noise_ceiling, variance, correlations
"""


rule summarise_downstream:
    """Mean Dice per checkpoint and way of fine-tuning, with its interval over fine-tuning seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("curves/summarise_downstream.py"),
    output:
        table="<results>/{run}/tables/downstream.csv",
        tex="<results>/{run}/tables/downstream.tex",
    log:
        "<logs>/curves/summarise_downstream-{run}.log",
    benchmark:
        "<benchmarks>/curves/summarise_downstream-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/curves/summarise_downstream.py"


rule compare_lengths:
    """Test in every curve of Dice against length whether a shorter pretraining beats the longest."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("curves/compare_lengths.py"),
    output:
        table=report(
            "<results>/{run}/tables/length_effect.csv",
            caption="../report/length_effect.rst",
            category="Tables",
            labels={"table": "best length against last", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/length_effect.tex",
    log:
        "<logs>/curves/compare_lengths-{run}.log",
    benchmark:
        "<benchmarks>/curves/compare_lengths-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/curves/compare_lengths.py"


rule measure_noise:
    """Test in every curve whether its lengths are distinguishable from seed noise."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("curves/measure_noise.py"),
    output:
        table="<results>/{run}/tables/noise_ceiling.csv",
        tex="<results>/{run}/tables/noise_ceiling.tex",
    log:
        "<logs>/curves/measure_noise-{run}.log",
    benchmark:
        "<benchmarks>/curves/measure_noise-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/curves/measure_noise.py"


rule part_variance:
    """Part the variance of Dice into networks, schemes, lengths and seeds."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        code=code("curves/part_variance.py"),
    output:
        table="<results>/{run}/tables/variance.csv",
        tex="<results>/{run}/tables/variance.tex",
    log:
        "<logs>/curves/part_variance-{run}.log",
    benchmark:
        "<benchmarks>/curves/part_variance-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/curves/part_variance.py"


rule correlate_predictors:
    """Correlate what is known before fine-tuning (accuracy, epochs, robustness scores) with Dice."""
    input:
        downstream="<results>/{run}/downstream_scores.csv",
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("curves/correlate_predictors.py"),
    output:
        table="<results>/{run}/tables/correlations.csv",
        tex="<results>/{run}/tables/correlations.tex",
    log:
        "<logs>/curves/correlate_predictors-{run}.log",
    benchmark:
        "<benchmarks>/curves/correlate_predictors-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/curves/correlate_predictors.py"
