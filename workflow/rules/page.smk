"""
This part of the workflow writes the page of a run, ours or a published one: the first file to open.

REQUIRED INPUTS:

    run_files of targets.smk: what the run is known by, its answer, tables and figures
    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/card.json    (of own runs)
    card.json                                                   (of deposited runs: where their folder has it)
    workflow/report/index.html.j2, page.css, page.js, {figure}.rst

OUTPUTS:

    <results>/{run}/index.html
"""


rule write_page:
    """Write one HTML file with the answer, figures, tables and run card."""
    input:
        files=lambda wildcards: run_files(wildcards.run),
        cards=cards_of_run,
        template=f"{REPORT}/index.html.j2",
        assets=[f"{REPORT}/page.css", f"{REPORT}/page.js"],
        captions=[f"{REPORT}/{figure}.rst" for figure in FIGURES],
        code=code("page/write_page.py"),
    output:
        page="<results>/{run}/index.html",
    log:
        "<logs>/page/write_page-{run}.log",
    benchmark:
        "<benchmarks>/page/write_page-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        titles={figure: title for figure, (title, _) in FIGURES.items()},
        protocol=lambda wildcards: None if wildcards.run in DEPOSITED else config["protocol"],
    script:
        "../scripts/page/write_page.py"
