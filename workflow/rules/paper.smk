"""
This part of the workflow draws the figures of a run, ours or a published one.

REQUIRED INPUTS:

    <results>/{run}/robustness_scores.csv
    <results>/{run}/tables/{name}.csv

OUTPUTS:

    <results>/{run}/paper.tex, paper.pdf            (on request: all figures and tables; the PDF where LaTeX is installed)
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
                category="Figures",
                labels={"figure": title, "run": "{run}"},
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


rule write_paper:
    """Write a LaTeX document of all figures and tables of a run, with their captions."""
    input:
        figures=lambda wildcards: [*run_figures(wildcards.run), *run_gallery(wildcards.run)],
        tables=lambda wildcards: run_tables(wildcards.run),
        captions=[f"{REPORT}/{figure}.rst" for figure in [*FIGURES, "images", "segmentations"]],
        code=code("paper/write_paper.py"),
    output:
        tex="<results>/{run}/paper.tex",
    log:
        "<logs>/paper/write_paper-{run}.log",
    benchmark:
        "<benchmarks>/paper/write_paper-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        figures={figure: title for figure, (title, _) in FIGURES.items()},
        tables={name: name.replace("_", " ") for name in TABLES},
        sheets=lambda wildcards: GRID["targets"] if run_gallery(wildcards.run) else [],
    script:
        "../scripts/paper/write_paper.py"


rule compile_paper:
    """Make a PDF of that document."""
    input:
        tex="<results>/{run}/paper.tex",
        code=code("paper/compile_paper.py"),
    output:
        pdf="<results>/{run}/paper.pdf",
    log:
        "<logs>/paper/compile_paper-{run}.log",
    benchmark:
        "<benchmarks>/paper/compile_paper-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/paper/compile_paper.py"
