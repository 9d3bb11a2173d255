"""
This part of the workflow scores every checkpoint on every target, without fine-tuning: one job for all of a pretraining.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json

OUTPUTS:

    <run>/scores/{target}/{encoder}/{pretraining}.csv, .json (values of patients, for `rank`)
    pretraining: {scheme}/seed{pretrain_seed}, or random
"""


rule score_checkpoints:
    """Compute all scores of the checkpoints of one pretraining on one target's training images."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(f"<data>/{{target}}/{VARIANT}/masks.npy"),
        weights=ancient(weights_to_score(".safetensors")),
        cards=weights_to_score(".json"),
        code=code("score/score_checkpoints.py"),
    output:
        scores="<run>/scores/{target}/{encoder}/{pretraining}.csv",
        by_group="<run>/scores/{target}/{encoder}/{pretraining}.json",
    log:
        "<logs>/score/{target}/{encoder}/{pretraining}.log",
    benchmark:
        "<benchmarks>/score/{target}/{encoder}/{pretraining}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem=gigabytes(16),
        runtime=minutes(120),
    params:
        checkpoints=lambda wildcards: [list(checkpoint) for checkpoint in checkpoints_to_score(wildcards)],  # others: scored again
        encoder=encoder_settings,
        scores=config["score"]["scores"],
        images=config["score"]["images"],
        draws=config["score"]["draws"],
        pixels=config["score"]["pixels"],
        samples=config["score"]["samples"],
        components=config["score"]["components"],
        seed=config["score"]["seed"],
        inputs=network_inputs,
        made_of=[VARIANT, config["pretraining"]["source"]],  # so that other data or checkpoints are scored again
    script:
        "../scripts/score/score_checkpoints.py"
