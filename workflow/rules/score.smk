"""
This part of the workflow scores every checkpoint on every target, without fine-tuning.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json

OUTPUTS:

    <run>/scores/{target}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.csv, .json (values of patients, for `rank`)
"""


rule score_checkpoint:
    """Compute all scores of one checkpoint on one target's training images."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(f"<data>/{{target}}/{VARIANT}/masks.npy"),
        weights=ancient("<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors"),
        card="<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.json",
        code=code("score/score_checkpoint.py"),
    output:
        scores="<run>/scores/{target}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.csv",
        by_group="<run>/scores/{target}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.json",
    log:
        "<logs>/score/{target}-{encoder}-{scheme}-{pretrain_seed}-{epochs}.log",
    benchmark:
        "<benchmarks>/score/{target}-{encoder}-{scheme}-{pretrain_seed}-{epochs}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem=gigabytes(16),
        runtime=minutes(30),
    params:
        encoder=encoder_settings,
        scores=config["score"]["scores"],
        images=config["score"]["images"],
        draws=config["score"]["draws"],
        pixels=config["score"]["pixels"],
        samples=config["score"]["samples"],
        components=config["score"]["components"],
        seed=config["score"]["seed"],
        inputs=network_inputs,
    script:
        "../scripts/score/score_checkpoint.py"
