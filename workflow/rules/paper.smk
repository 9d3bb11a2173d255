"""
This part of the workflow draws the figures and sets the tables of a run, ours or a published one.

REQUIRED INPUTS:

    <results>/{run}/robustness_scores.csv
    <results>/{run}/stats/downstream.csv, length_effect.csv, correlations.csv

OUTPUTS:

    <results>/{run}/figures/{name}.pdf, .png, .csv (the data shown)     name: FIGURES
    <results>/{run}/tables/{name}.csv, .tex                             name: TABLES
"""

FIGURES = [
    "accuracy_vs_length",
    "dice_vs_length",
    "dice_vs_accuracy",
    "robustness_vs_length",
    "robustness_vs_dice",
    "correlation_heatmap",
]
TABLES = ["length_effect", "correlations"]


rule figure_accuracy_vs_length:
    """Draw pretraining accuracy against pretraining length."""
    input:
        downstream="<results>/{run}/stats/downstream.csv",
        code=code("paper/figure_accuracy_vs_length.py"),
    output:
        pdf="<results>/{run}/figures/accuracy_vs_length.pdf",
        png=report(
            "<results>/{run}/figures/accuracy_vs_length.png",
            caption="../report/accuracy_vs_length.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "accuracy against length"},
        ),
        csv="<results>/{run}/figures/accuracy_vs_length.csv",
    log:
        "<logs>/paper/figure_accuracy_vs_length-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_accuracy_vs_length-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_accuracy_vs_length.py"


rule figure_dice_vs_length:
    """Draw Dice against pretraining length per target and network."""
    input:
        downstream="<results>/{run}/stats/downstream.csv",
        code=code("paper/figure_dice_vs_length.py"),
    output:
        pdf="<results>/{run}/figures/dice_vs_length.pdf",
        png=report(
            "<results>/{run}/figures/dice_vs_length.png",
            caption="../report/dice_vs_length.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "Dice against length"},
        ),
        csv="<results>/{run}/figures/dice_vs_length.csv",
    log:
        "<logs>/paper/figure_dice_vs_length-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_dice_vs_length-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_dice_vs_length.py"


rule figure_dice_vs_accuracy:
    """Draw Dice against pretraining accuracy per target."""
    input:
        downstream="<results>/{run}/stats/downstream.csv",
        code=code("paper/figure_dice_vs_accuracy.py"),
    output:
        pdf="<results>/{run}/figures/dice_vs_accuracy.pdf",
        png=report(
            "<results>/{run}/figures/dice_vs_accuracy.png",
            caption="../report/dice_vs_accuracy.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "Dice against accuracy"},
        ),
        csv="<results>/{run}/figures/dice_vs_accuracy.csv",
    log:
        "<logs>/paper/figure_dice_vs_accuracy-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_dice_vs_accuracy-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_dice_vs_accuracy.py"


rule figure_robustness_vs_length:
    """Draw one setting of the robustness score against pretraining length per target, encoder and level."""
    input:
        robustness="<results>/{run}/robustness_scores.csv",
        code=code("paper/figure_robustness_vs_length.py"),
    output:
        pdf="<results>/{run}/figures/robustness_vs_length.pdf",
        png=report(
            "<results>/{run}/figures/robustness_vs_length.png",
            caption="../report/robustness_vs_length.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "robustness against length"},
        ),
        csv="<results>/{run}/figures/robustness_vs_length.csv",
    log:
        "<logs>/paper/figure_robustness_vs_length-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_robustness_vs_length-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    params:
        metric="cosine_distance",
        margin=0.5,
        pooled=True,
    script:
        "../scripts/paper/figure_robustness_vs_length.py"


rule figure_robustness_vs_dice:
    """Draw Dice against one setting of the robustness score, deepest level, per target and network."""
    input:
        robustness="<results>/{run}/robustness_scores.csv",
        downstream="<results>/{run}/stats/downstream.csv",
        code=code("paper/figure_robustness_vs_dice.py"),
    output:
        pdf="<results>/{run}/figures/robustness_vs_dice.pdf",
        png=report(
            "<results>/{run}/figures/robustness_vs_dice.png",
            caption="../report/robustness_vs_dice.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "Dice against robustness"},
        ),
        csv="<results>/{run}/figures/robustness_vs_dice.csv",
    log:
        "<logs>/paper/figure_robustness_vs_dice-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_robustness_vs_dice-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    params:
        metric="cosine_distance",
        margin=0.5,
        pooled=True,
    script:
        "../scripts/paper/figure_robustness_vs_dice.py"


rule figure_correlation_heatmap:
    """Draw how well every setting of the robustness score ranks the lengths."""
    input:
        correlations="<results>/{run}/stats/correlations.csv",
        code=code("paper/figure_correlation_heatmap.py"),
    output:
        pdf="<results>/{run}/figures/correlation_heatmap.pdf",
        png=report(
            "<results>/{run}/figures/correlation_heatmap.png",
            caption="../report/correlation_heatmap.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "correlation of all settings"},
        ),
        csv="<results>/{run}/figures/correlation_heatmap.csv",
    log:
        "<logs>/paper/figure_correlation_heatmap-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_correlation_heatmap-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_correlation_heatmap.py"


rule table_length_effect:
    """Set the table of the best pretraining length against the last."""
    input:
        length_effect="<results>/{run}/stats/length_effect.csv",
        code=code("paper/table_length_effect.py"),
    output:
        csv=report(
            "<results>/{run}/tables/length_effect.csv",
            caption="../report/table_length_effect.rst",
            category="Tables",
            labels={"run": "{run}", "table": "best length against last"},
        ),
        tex="<results>/{run}/tables/length_effect.tex",
    log:
        "<logs>/paper/table_length_effect-{run}.log",
    benchmark:
        "<benchmarks>/paper/table_length_effect-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/table_length_effect.py"


rule table_correlations:
    """Set the table of what is known before fine-tuning against Dice."""
    input:
        correlations="<results>/{run}/stats/correlations.csv",
        code=code("paper/table_correlations.py"),
    output:
        csv=report(
            "<results>/{run}/tables/correlations.csv",
            caption="../report/table_correlations.rst",
            category="Tables",
            labels={"run": "{run}", "table": "what predicts Dice"},
        ),
        tex="<results>/{run}/tables/correlations.tex",
    log:
        "<logs>/paper/table_correlations-{run}.log",
    benchmark:
        "<benchmarks>/paper/table_correlations-{run}.tsv"
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/table_correlations.py"
