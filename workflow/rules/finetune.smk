"""
This part of the workflow fine-tunes a U-Net from every checkpoint.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy, truth.npz
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json

OUTPUTS:

    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/
        cases.csv, history.csv, card.json           pretraining: {scheme}/seed{pretrain_seed}, or random; seeds: for example 1-3, or 1-3+7
                                                    way: trainable, frozen; trainable-both, trainable-decoder: what is transferred beside or
                                                    instead of the encoder; trainable-5patients-draw1: a part of the training patients

One job trains all seeds, one after the other, as if each were alone. Seeds that are added later get a job of their own.
Code is not an input of the training: an edit never repeats it. After a change that matters: snakemake -R finetune_network
"""


rule finetune_network:
    """Train a U-Net on the target from one checkpoint, once for every seed, and evaluate each on the test split."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(masks_to_learn),
        truth=ancient(f"<data>/{{target}}/{VARIANT}/truth.npz"),
        weights=ancient(starting_weights(".safetensors")),
        cards=starting_weights(".json"),
    output:
        cases=f"<run>/finetune/{{target}}/{FINETUNED}/cases.csv",
        history=f"<run>/finetune/{{target}}/{FINETUNED}/history.csv",
        card=f"<run>/finetune/{{target}}/{FINETUNED}/card.json",
    log:
        f"<logs>/finetune/{{target}}/{FINETUNED}.log",
    benchmark:
        f"<benchmarks>/finetune/{{target}}/{FINETUNED}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem=gigabytes(24),
        runtime=minutes(480),
    params:
        encoder=starting_settings,
        recipe=config["finetune"],
        image_size=config["image_size"],
        protocol=lambda wildcards: finetuning_protocol(),
        inputs=network_inputs,
        precision=config["precision"],
    script:
        "../scripts/finetune/finetune_network.py"
