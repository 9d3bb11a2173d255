"""
This part of the workflow says what a run will cost and how far it is. It is included last, as it looks at the other rules.

REQUIRED INPUTS:

    <benchmarks>/, <logs>/, <first output>.lease = what jobs took, what they said, and who works
    workflow/registry/datasets.tsv, costs.tsv

OUTPUTS: none; the text is printed while Snakemake reads this file, before it looks at its lock, and Snakemake ends. So
both can be asked beside a run, and right after one that was killed.
"""

import sys


rule plan:
    """Print what the run will cost in GPU time and disk, and which data sets, logins and licences it needs."""
    localrule: True


rule status:
    """Print what is done, runs, failed and waits, until when, and how well jobs use what they ask for."""
    localrule: True


if {"plan", "status"} & set(sys.argv):
    from workflow.lib.overview.show import overview, text_asked_for

    if text := text_asked_for(sys.argv[1:]):
        from_elsewhere = config["run"] in config["deposited"]  # then the run begins with its two tables
        trains = any(is_trained_here(config, encoder) for encoder in GRID["encoders"])
        sets = [*([config["pretraining"]["images"]] if trains else []), *GRID["targets"]]
        made_here = [
            *collect("<data>/{dataset}/source.json", dataset=sets),
            *collect("<data>/{target}/cases.csv", target=GRID["targets"]),
            *collect("<data>/{target}/{variant}/split.csv", target=GRID["targets"], variant=VARIANT),
            *prepared_data(),
            *checkpoint_files(),
            *score_files(),
            *finetune_files(),
        ]
        needed = [] if from_elsewhere else sets
        print(
            overview(
                text,
                workflow=workflow,
                config=config,
                files=[
                    *([] if from_elsewhere else made_here),
                    "<run>/downstream_scores.csv",
                    *run_products(config["run"]),
                ],
                data_sets={name: (DATASETS[name]["folder"], data_origin(name)) for name in needed},
                index=source_file("index.csv.gz"),
                cards={target: f"<data>/{target}/{VARIANT}/card.json" for target in GRID["targets"]},
                downloads="<data>/downloads",
            )
        )
        sys.exit(0)
