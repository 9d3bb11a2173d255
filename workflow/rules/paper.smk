"""
This part of the workflow draws the figures of a run, ours or a published one, and sets its tables in LaTeX.

REQUIRED INPUTS:

    <results>/{run}/robustness_scores.csv
    <results>/{run}/tables/{name}.csv                                   name: TABLES

OUTPUTS:

    <results>/{run}/figures/{name}.pdf, .png, .csv (the data shown)     name: FIGURES
    <results>/{run}/tables/{name}.tex                                   name: TABLES
"""

FIGURES = [
    "accuracy_vs_length",
    "dice_vs_length",
    "dice_vs_accuracy",
    "robustness_vs_length",
    "robustness_vs_dice",
    "correlation_heatmap",
    "selection_tradeoff",
    "selection_all",
    "setting_stability",
    "claims_forest",
    "replay",
    "score_selection",
]
TABLES = [
    "data_quality",
    "downstream",
    "length_effect",
    "noise_ceiling",
    "variance",
    "correlations",
    "selection",
    "selection_summary",
    "claims",
    "replay_summary",
    "score_selection_summary",
]


rule figure_accuracy_vs_length:
    """Draw pretraining accuracy against pretraining length."""
    input:
        downstream="<results>/{run}/tables/downstream.csv",
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
    localrule: True
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
        downstream="<results>/{run}/tables/downstream.csv",
        noise_ceiling="<results>/{run}/tables/noise_ceiling.csv",
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
    localrule: True
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
        downstream="<results>/{run}/tables/downstream.csv",
        noise_ceiling="<results>/{run}/tables/noise_ceiling.csv",
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
    localrule: True
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
    localrule: True
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
        downstream="<results>/{run}/tables/downstream.csv",
        noise_ceiling="<results>/{run}/tables/noise_ceiling.csv",
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
    localrule: True
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
        correlations="<results>/{run}/tables/correlations.csv",
        noise_ceiling="<results>/{run}/tables/noise_ceiling.csv",
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
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_correlation_heatmap.py"


rule figure_selection_tradeoff:
    """Draw what stopping early gains or loses against the epochs that it saves, for every selector."""
    input:
        selection_summary="<results>/{run}/tables/selection_summary.csv",
        code=code("paper/figure_selection_tradeoff.py"),
    output:
        pdf="<results>/{run}/figures/selection_tradeoff.pdf",
        png=report(
            "<results>/{run}/figures/selection_tradeoff.png",
            caption="../report/selection_tradeoff.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "stopping early"},
        ),
        csv="<results>/{run}/figures/selection_tradeoff.csv",
    log:
        "<logs>/paper/figure_selection_tradeoff-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_selection_tradeoff-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_selection_tradeoff.py"


rule figure_selection_all:
    """Draw what each selector takes among all checkpoints."""
    input:
        selection="<results>/{run}/tables/selection.csv",
        code=code("paper/figure_selection_all.py"),
    output:
        pdf="<results>/{run}/figures/selection_all.pdf",
        png=report(
            "<results>/{run}/figures/selection_all.png",
            caption="../report/selection_all.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "choice among all"},
        ),
        csv="<results>/{run}/figures/selection_all.csv",
    log:
        "<logs>/paper/figure_selection_all-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_selection_all-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_selection_all.py"


rule figure_setting_stability:
    """Draw whether the same settings of the score are good on all targets."""
    input:
        selection="<results>/{run}/tables/selection.csv",
        code=code("paper/figure_setting_stability.py"),
    output:
        pdf="<results>/{run}/figures/setting_stability.pdf",
        png=report(
            "<results>/{run}/figures/setting_stability.png",
            caption="../report/setting_stability.rst",
            category="Figures",
            labels={"run": "{run}", "figure": "stability of settings"},
        ),
        csv="<results>/{run}/figures/setting_stability.csv",
    log:
        "<logs>/paper/figure_setting_stability-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_setting_stability-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_setting_stability.py"


rule figure_claims_forest:
    """Draw every claim with its interval, the margins and its verdict."""
    input:
        claims="<results>/{run}/tables/claims.csv",
        code=code("paper/figure_claims_forest.py"),
    output:
        pdf="<results>/{run}/figures/claims_forest.pdf",
        png=report(
            "<results>/{run}/figures/claims_forest.png",
            caption="../report/claims_forest.rst",
            category="Claims",
            labels={"run": "{run}", "figure": "claims"},
        ),
        csv="<results>/{run}/figures/claims_forest.csv",
    log:
        "<logs>/paper/figure_claims_forest-{run}.log",
    benchmark:
        "<benchmarks>/paper/figure_claims_forest-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    script:
        "../scripts/paper/figure_claims_forest.py"


rule set_table:
    """Set a table in LaTeX."""
    input:
        csv="<results>/{run}/tables/{table}.csv",
        code=code("paper/set_table.py"),
    output:
        tex="<results>/{run}/tables/{table}.tex",
    log:
        "<logs>/paper/set_table-{run}-{table}.log",
    benchmark:
        "<benchmarks>/paper/set_table-{run}-{table}.tsv"
    wildcard_constraints:
        table="[a-z_]+",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    threads: 1
    resources:
        mem="1GB",
        runtime=10,
    script:
        "../scripts/paper/set_table.py"
