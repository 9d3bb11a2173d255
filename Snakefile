"""medseg-transfer: which pretraining checkpoint should a medical U-Net start from?"""

import time

from snakemake.utils import min_version

from workflow.lib.job.slurm import register_main
from workflow.lib.overview.progress import follow
from workflow.lib.overview.summary import run_summary

min_version("9.27")

STARTED = time.time()


configfile: "config.yaml"


include: "workflow/rules/init.smk"  # the config for a folder of images
include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/inputs_pretrain.smk"
include: "workflow/rules/targets.smk"


pathvars:
    results="results",
    data="<results>/data",
    pretrain=f"<results>/pretrain/{config['pretraining']['source']}/{pretrain_variant(config)}",
    run=f"<results>/{config['run']}",
    logs=f"<results>/{config['run']}/logs",
    benchmarks=f"<results>/{config['run']}/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"  # download or generate, verify, split, prepare
include: "workflow/rules/data_sources.smk"  # lists of images to pretrain on
include: "workflow/rules/pretrain.smk"  # ImageNet checkpoints of every encoder and scheme
include: "workflow/rules/pretrain_released.smk"  # the same from weights that were trained elsewhere
include: "workflow/rules/pretrain_until.smk"  # early stopping of pretraining
include: "workflow/rules/score.smk"  # transferability scores of every checkpoint on every target
include: "workflow/rules/finetune.smk"  # U-Nets from every checkpoint
include: "workflow/rules/tables.smk"  # the tables of a run: all that follows knows only these
include: "workflow/rules/transfer.smk"  # tasks of pretraining, what is transferred, few patients
include: "workflow/rules/pool.smk"  # segmentation networks as starts: which one to choose
include: "workflow/rules/curves.smk"  # means, effects of length, noise, correlations
include: "workflow/rules/selection.smk"  # which checkpoint every rule and score would choose; the answer
include: "workflow/rules/claims.smk"  # which claims hold
include: "workflow/rules/paper.smk"  # every figure; the names of all products of a run
include: "workflow/rules/gallery.smk"  # contact sheets: what networks see, and what they segment
include: "workflow/rules/page.smk"  # the page of a run: its answer, figures and tables in one file
include: "workflow/rules/rank.smk"  # what to start from on your own data, from scores alone
include: "workflow/rules/overview.smk"  # plan and status: what a run will cost, and how far it is


onstart:
    register_main(log)  # and cancel what a killed run left in the queue
    # With a limit of jobs per second, the default, Snakemake 9.27 schedules once more a second for every job that has ended.
    workflow.scheduler.job_rate_limiter = None
    follow(workflow)  # a line of progress in a terminal, and headlines


onsuccess:
    print(
        run_summary(
            workflow.pathvars.apply("<results>"), {config["run"], *config["deposited"]}, STARTED, time.time()
        )
    )


rule all:
    default_target: True
    input:
        run_products(config["run"]),


rule data:
    input:
        prepared_data(),


rule pretrain:
    input:
        checkpoint_files(),


rule scores:
    input:
        score_files(),


rule stopped:
    input:
        stopped_files,


rule rank:
    input:
        rankings,


rule finetune:
    input:
        finetune_files(),


rule stats:
    input:
        run_stats(config["run"]),


rule figures:
    input:
        run_figures(config["run"]),


rule gallery:
    input:
        gallery("images", "segmentations"),


rule tables:
    input:
        run_tables(config["run"]),


rule paper:
    input:
        paper_files,


rule transfer:
    input:
        transfer_products(config["run"]),


rule pool:
    input:
        pool_products,


rule calibrate:
    input:
        CALIBRATION,


rule published:
    input:
        run_products("published"),


rule realdata_study:
    input:
        run_products("realdata_study"),


rule realdata_transfer:
    input:
        transfer_products("realdata_transfer"),
        figure_files("realdata_transfer", POOL_FIGURES),


# One figure or table by name.
for name in [*FIGURES, *TABLES, *TRANSFER_FIGURES, *TRANSFER_TABLES, *POOL_FIGURES, "reproduction"]:

    rule:
        name:
            name
        input:
            one_product(config["run"], name),
