"""
This part of the workflow says what a run will cost and how far it is. It is included last, as it reads the other rules.

REQUIRED INPUTS:

    <benchmarks>/, <logs>/, <first output>.lease = what jobs took, what they said, and who works
    workflow/registry/datasets.tsv, costs.tsv

OUTPUTS:

    <results>/calibration/{device}-{precision}.json = how fast the device trains, for `plan`

Of plan and status none; the text is printed while Snakemake reads this file, before it checks its lock, and Snakemake ends. So
both can be asked beside a run, and right after one that was killed.
"""

import sys

COSTS = os.path.relpath(f"{workflow.basedir}/workflow/registry/costs.tsv")
CALIBRATION = f"<results>/calibration/{config['device']}-{config['precision']}.json"


rule plan:
    """Print what the run (or beside it: rank, stopped, transfer, pool) will cost in GPU time and disk, and what it needs from outside."""
    localrule: True


rule status:
    """Print what is done, runs, failed and waits (beside it: of rank, stopped, transfer, pool), until when, and the use of resources."""
    localrule: True


rule calibrate_device:
    """Measure how fast the device trains the study's networks; `plan` uses it from then on."""
    output:
        "<results>/calibration/{device}-{precision}.json",
    log:
        "<logs>/overview/calibrate-{device}-{precision}.log",
    benchmark:
        "<benchmarks>/overview/calibrate-{device}-{precision}.tsv"
    wildcard_constraints:
        device="cuda|cpu",
    conda:
        "../../envs/ml.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem=gigabytes(16),
        runtime=minutes(15),
    params:
        costs=COSTS,
        device=config["device"],
        precision=config["precision"],
    script:
        "../scripts/overview/calibrate.py"


if {"plan", "status"} & set(sys.argv):
    from workflow.lib.overview.show import overview, text_asked_for

    if asked := text_asked_for(sys.argv[1:]):
        print(
            overview(
                *asked,
                workflow=workflow,
                config=config,
                files=files_for(asked[1]),
                data_sets={name: (DATASETS[name]["folder"], data_origin(name)) for name in data_sets_for(asked[1])},
                indexes={source: f"{source_place(source)}/index.csv.gz" for source in sources()},
                cards={target: f"<data>/{target}/{VARIANT}/card.json" for target in PREPARED},
                downloads="<data>/downloads",
                calibration=CALIBRATION,
            )
        )
        sys.exit(0)
