"""medseg-transfer: which pretraining checkpoint should a medical U-Net start from?"""

from snakemake.utils import min_version

from workflow.lib.cluster import register_main

min_version("9.27")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/targets.smk"


pathvars:
    results="results",
    data="<results>/data",
    pretrain=f"<results>/pretrain/{config['pretraining']['images']}/{pretrain_variant(config)}",
    run=f"<results>/{config['run']}",
    logs=f"<results>/{config['run']}/logs",
    benchmarks=f"<results>/{config['run']}/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"  # download or generate, verify, split, prepare
include: "workflow/rules/pretrain.smk"  # ImageNet checkpoints of every encoder and scheme
include: "workflow/rules/released.smk"  # the same from weights that were trained elsewhere
include: "workflow/rules/stop.smk"  # pretrainings that stop by themselves
include: "workflow/rules/score.smk"  # transferability scores of every checkpoint on every target
include: "workflow/rules/finetune.smk"  # U-Nets from every checkpoint, and the run's two tables
include: "workflow/rules/stats.smk"  # audit, means, effects of length, noise
include: "workflow/rules/claims.smk"  # correlations, selection, claims, the answer
include: "workflow/rules/judge.smk"  # stopping rules replayed, every score judged as a selector
include: "workflow/rules/paper.smk"  # every figure, and the tables in LaTeX
include: "workflow/rules/rank.smk"  # what to start from on your own data, from scores alone
include: "workflow/rules/overview.smk"  # plan and status: what a run will cost, and how far it is


onstart:
    register_main(log)  # and cancel what a killed run left in the queue


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


rule tables:
    input:
        run_tables(config["run"]),


rule published:
    input:
        run_products("published"),


for name in [*FIGURES, *TABLES, "reproduction"]:  # one figure or table by name

    rule:
        name:
            name
        input:
            one_product(config["run"], name),
