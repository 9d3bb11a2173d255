"""
This part of the workflow fine-tunes a U-Net from every checkpoint and gathers the run's tables.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json
    <run>/scores/{target}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.csv

OUTPUTS:

    <run>/finetune/{target}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/
        cases.csv, history.csv, card.json
    <run>/downstream_scores.csv, robustness_scores.csv, transferability_scores.csv, patient_scores.csv.gz

Code is no input of the training: an edit never repeats it. After a change that matters: snakemake -R finetune_network
"""


rule finetune_network:
    """Train a U-Net on the target from one checkpoint and evaluate it on the test part."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(masks_to_learn),
        weights=ancient("<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors"),
        card="<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.json",
    output:
        cases="<run>/finetune/{target}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/cases.csv",
        history="<run>/finetune/{target}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/history.csv",
        card="<run>/finetune/{target}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/card.json",
    log:
        "<logs>/finetune/{target}-{freeze}-{encoder}-{scheme}-{pretrain_seed}-{epochs}-{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{target}-{freeze}-{encoder}-{scheme}-{pretrain_seed}-{epochs}-{seed}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem=gigabytes(24),
        runtime=minutes(240),
    params:
        encoder=encoder_settings,
        recipe=config["finetune"],
        image_size=config["image_size"],
        protocol=lambda wildcards: finetuning_protocol(),
        inputs=network_inputs,
        precision=config["precision"],
    script:
        "../scripts/finetune/finetune_network.py"


if config["run"] not in config["deposited"]:  # the tables of deposited runs exist already

    rule gather_tables:
        """Write the run's tables, in the column names of the study's release."""
        input:
            cards=finetune_files(),
            scores=score_files(),
            groups=collect("<data>/{target}/{variant}/items.csv", target=GRID["targets"], variant=VARIANT),
            code=code("finetune/gather_tables.py"),
        output:
            downstream="<run>/downstream_scores.csv",
            robustness="<run>/robustness_scores.csv",
            transferability="<run>/transferability_scores.csv",
            patients="<run>/patient_scores.csv.gz",
        log:
            f"<logs>/finetune/gather_tables-{config['run']}.log",
        benchmark:
            f"<benchmarks>/finetune/gather_tables-{config['run']}.tsv"
        localrule: True
        conda:
            "../../envs/paper.yaml"
        threads: 1
        resources:
            mem="4GB",
            runtime=10,
        params:
            schemes=own_schemes(),
            networks={name: config["encoders"][name]["network"] for name in GRID["encoders"]},
            score=SCORE[PROTOCOL["robustness"]],
            study=GRID,  # so that a smaller grid makes the tables anew
        script:
            "../scripts/finetune/gather_tables.py"
