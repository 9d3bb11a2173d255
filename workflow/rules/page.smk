"""
This part of the workflow writes the pages of a run, ours or a published one: the first files to open.

REQUIRED INPUTS:

    run_files of targets.smk: what the run is known by, its answer, tables, figures and contact sheets
    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/card.json    (of own runs)
    card.json                                                   (of deposited runs: where their folder has it)
    <run>/rank/{target}/ranking.csv, ranking.png, answer.txt, confirm.txt                         (rank.html)
    workflow/report/*.html.j2, page.css, page.js, {figure}.rst

OUTPUTS:

    <results>/{run}/index.html
    <run>/rank.html, <results>/{run}/transfer.html, <run>/pool.html        (of `snakemake rank`, `transfer`, `pool`)
"""

PAGE = [f"{REPORT}/{name}" for name in ("base.html.j2", "macros.html.j2", "page.css", "page.js")]
SHEETS = [f"{REPORT}/images.rst", f"{REPORT}/segmentations.rst"]


rule write_page:
    """Write one HTML file with the answer, figures, contact sheets, tables and run card."""
    input:
        files=lambda wildcards: run_files(wildcards.run),
        cards=cards_of_run,
        template=f"{REPORT}/index.html.j2",
        assets=PAGE,
        captions=[*[f"{REPORT}/{figure}.rst" for figure in FIGURES], *SHEETS],
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
        gallery=lambda wildcards: GRID["targets"] if run_gallery(wildcards.run) else [],
        protocol=lambda wildcards: None if wildcards.run in DEPOSITED else config["protocol"],
    script:
        "../scripts/page/write_page.py"


rule write_rank_page:
    """Write one HTML file with the rankings of all targets, and their images as networks see them."""
    input:
        files=lambda wildcards: [
            *rank_files(["ranking.csv", "ranking.json", "ranking.png", "ranking.pdf", "answer.txt", "finetune.yaml"]),
            *(rank_files(["confirm.csv", "confirm.txt"]) if config["rank"]["confirm"] else []),
            *gallery("images"),
        ],
        template=f"{REPORT}/topic.html.j2",
        assets=PAGE,
        captions=[f"{REPORT}/rank.rst", *SHEETS],
        code=code("page/write_rank.py"),
    output:
        page="<run>/rank.html",
    log:
        "<logs>/page/write_rank_page.log",
    benchmark:
        "<benchmarks>/page/write_rank_page.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        targets=GRID["targets"],
        warnings=warnings_of(config["run"]),
    script:
        "../scripts/page/write_rank.py"


rule write_transfer_page:
    """Write one HTML file on one topic: tasks and transfers, or a pool of networks."""
    input:
        files=lambda wildcards: transfer_files(wildcards.run),
        template=f"{REPORT}/topic.html.j2",
        assets=PAGE,
        captions=[f"{REPORT}/{figure}.rst" for figure in TRANSFER_FIGURES],
        code=code("page/write_topic.py"),
    output:
        page="<results>/{run}/transfer.html",
    log:
        "<logs>/page/write_transfer_page-{run}.log",
    benchmark:
        "<benchmarks>/page/write_transfer_page-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        warnings=lambda wildcards: warnings_of(wildcards.run),
        title="Which task to pretrain on, what to transfer, and how few patients?",
        lead="Dice is between 0 and 1, higher is better. What is compared, and how, is above each table.",
        figures={figure: title for figure, (title, _) in TRANSFER_FIGURES.items()},
        tables={
            "transfer_claims": "Claims and verdicts",
            "transfer_effects": "Gains of tasks and transfers",
            "learning_curves": "Learning curves, and patients saved",
        },
    script:
        "../scripts/page/write_topic.py"


use rule write_transfer_page as write_pool_page with:
    input:
        files=lambda wildcards: pool_files(),
        template=f"{REPORT}/topic.html.j2",
        assets=PAGE,
        captions=[f"{REPORT}/{figure}.rst" for figure in POOL_FIGURES],
        code=code("page/write_topic.py"),
    output:
        page="<run>/pool.html",
    log:
        "<logs>/page/write_pool_page.log",
    benchmark:
        "<benchmarks>/page/write_pool_page.tsv"
    params:
        warnings=warnings_of(config["run"]),
        title="Which segmentation network to start from?",
        lead="Networks trained on other data, ranked by scores and judged by Dice after fine-tuning.",
        figures={figure: title for figure, (title, _) in POOL_FIGURES.items()},
        tables={"pool": "How scores rank the networks"},
