"""
This part of the workflow ranks segmentation networks, trained on other data, as starts for each target.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json     schemes of task segmentation
    <run>/transfer_scores.csv, <run>/scores/{target}/{encoder}/{pretraining}.csv
    config = pool.given: other networks

OUTPUTS:

    <run>/pool/{target}/{encoder}/{scheme}/seed{pretrain_seed}.csv, <run>/pool/{target}/given/{model}.csv    scores of decoders
    <results>/{run}/tables/pool.csv, .tex, pool_members.csv     how scores rank the networks; Dice of each source on each target
"""


rule score_model:
    """Score a segmentation network on a target's training images, by what its decoder shows."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(masks_to_learn),
        weights=ancient(f"{TRAINED}/epoch{max(GRID['lengths'])}.safetensors"),
        card=f"{TRAINED}/epoch{max(GRID['lengths'])}.json",
        code=code("pool/score_model.py"),
    output:
        scores="<run>/pool/{target}/{encoder}/{scheme}/seed{pretrain_seed}.csv",
    log:
        "<logs>/pool/{target}-{encoder}-{scheme}-{pretrain_seed}.log",
    benchmark:
        "<benchmarks>/pool/{target}-{encoder}-{scheme}-{pretrain_seed}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem=gigabytes(16),
        runtime=minutes(120),
    params:
        names=lambda wildcards: {
            "target": wildcards.target,
            "model": wildcards.scheme,
            "pretrain_seed": wildcards.pretrain_seed,
        },
        network=lambda wildcards: {"encoder": encoder_settings(wildcards)},
        images=config["score"]["images"],
        pixels=config["score"]["pixels"],
        components=config["score"]["components"],
        seed=config["score"]["seed"],
        inputs=network_inputs,
        made_of=[VARIANT, config["pretraining"]["source"]],  # so that other data or networks are scored again
    script:
        "../scripts/pool/score_model.py"


use rule score_model as score_given with:
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(masks_to_learn),
        weights=lambda wildcards: GIVEN_NETWORKS[wildcards.model]["weights"],
        code=code("pool/score_model.py"),
    output:
        scores="<run>/pool/{target}/given/{model}.csv",
    log:
        "<logs>/pool/{target}-given-{model}.log",
    benchmark:
        "<benchmarks>/pool/{target}-given-{model}.tsv"
    wildcard_constraints:
        model="[A-Za-z0-9._-]+",
    params:
        names=lambda wildcards: {"target": wildcards.target, "model": wildcards.model, "pretrain_seed": 0},
        network=lambda wildcards: settings_of(wildcards.model),
        images=config["score"]["images"],
        pixels=config["score"]["pixels"],
        components=config["score"]["components"],
        seed=config["score"]["seed"],
        inputs="standardised",
        made_of=lambda wildcards: [VARIANT, sha256_of_given(wildcards.model)],


rule judge_pool:
    """Compare every score with Dice over the networks of each target's pool, beside blind and simple choices."""
    input:
        transfer="<run>/transfer_scores.csv",
        decoders=list(pool_decoders().values()),
        encoders=lambda wildcards: pool_encoder_scores(),
        code=code("pool/judge_pool.py"),
    output:
        table="<run>/tables/pool.csv",
        tex="<run>/tables/pool.tex",
        members="<run>/tables/pool_members.csv",
    log:
        "<logs>/pool/judge_pool.log",
    benchmark:
        "<benchmarks>/pool/judge_pool.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        names=list(pool_decoders()),
    script:
        "../scripts/pool/judge_pool.py"
