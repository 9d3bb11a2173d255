"""
This part of the workflow draws the figures of a run, ours or a published one.

REQUIRED INPUTS:

    <results>/{run}/robustness_scores.csv
    <results>/{run}/tables/{name}.csv

OUTPUTS:

    <results>/{run}/figures/{name}.pdf, .png, .csv (the data shown)     name: FIGURES, TRANSFER_FIGURES, POOL_FIGURES
"""

for figure, (title, tables) in {**FIGURES, **TRANSFER_FIGURES, **POOL_FIGURES}.items():

    rule:
        """Draw one figure of a run, and write the numbers that it shows."""
        name:
            f"figure_{figure}"
        input:
            tables=tables_shown(tables),
            code=code("paper/draw_figure.py"),
        output:
            pdf=f"<results>/{{run}}/figures/{figure}.pdf",
            png=report(
                f"<results>/{{run}}/figures/{figure}.png",
                caption=f"../report/{figure}.rst",
                category="Claims" if figure == "claims_forest" else "Figures",
                labels={"run": "{run}", "figure": title},
            ),
            csv=f"<results>/{{run}}/figures/{figure}.csv",
        log:
            f"<logs>/paper/figure_{figure}-{{run}}.log",
        benchmark:
            f"<benchmarks>/paper/figure_{figure}-{{run}}.tsv"
        localrule: True
        conda:
            "../../envs/paper.yaml"
        params:
            figure=figure,
        script:
            "../scripts/paper/draw_figure.py"
