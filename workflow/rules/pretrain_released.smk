"""
This part of the workflow makes checkpoints of weights that were not trained here. Their pretraining seed is 0.

REQUIRED INPUTS:

    config = pretraining.weights: released, for all or some encoders and schemes; encoders with `weights`
    workflow/registry/released.tsv = the study's file names and ImageNet accuracies

OUTPUTS:

    <data>/released/files.json, hashes.sha256     what the record holds, and the hashes seen first
    <pretrain>/{encoder}/{scheme}/seed0/epoch{epochs}.safetensors, .json
"""


rule fetch_released:
    """Download the study's encoder weights, about 5 GB, and check them."""
    output:
        files="<data>/released/files.json",
    log:
        "<logs>/pretrain/fetch_released.log",
    benchmark:
        "<benchmarks>/pretrain/fetch_released.tsv"
    localrule: True
    conda:
        "../../envs/ml.yaml"
    params:
        # With `output`, they are not tracked: another way to the same files repeats nothing.
        url=lambda wildcards, output: config["released"]["url"],
        folder=lambda wildcards, output: config["released"]["folder"],
    script:
        "../scripts/pretrain/fetch_released.py"


rule convert_released:
    """Rename the tensors of one file of the study to those of the network, strictly."""
    input:
        files=released_weights,
        registry=ancient(RELEASED),
    output:
        weights="<pretrain>/{encoder}/{scheme}/seed0/epoch{epochs}.safetensors",
        card="<pretrain>/{encoder}/{scheme}/seed0/epoch{epochs}.json",
    log:
        "<logs>/pretrain/{encoder}-{scheme}-0-{epochs}.log",
    benchmark:
        "<benchmarks>/pretrain/{encoder}-{scheme}-0-{epochs}.tsv"
    wildcard_constraints:
        scheme="(?!(random|pretrained)/)[A-Za-z0-9._-]+",
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(4),
        runtime=minutes(30),
    params:
        files=released_files,
        encoder=encoder_settings,
    script:
        "../scripts/pretrain/convert_released.py"


rule adopt_weights:
    """Take the weights that an encoder of the config names; timm's own are downloaded."""
    output:
        weights="<pretrain>/{encoder}/pretrained/seed0/epoch{epochs}.safetensors",
        card="<pretrain>/{encoder}/pretrained/seed0/epoch{epochs}.json",
    log:
        "<logs>/pretrain/{encoder}-pretrained-0-{epochs}.log",
    benchmark:
        "<benchmarks>/pretrain/{encoder}-pretrained-0-{epochs}.tsv"
    localrule: True
    conda:
        "../../envs/ml.yaml"
    params:
        encoder=adopted_settings,
        source=given_weights,
        sha256=given_sha256,  # other weights under the same name are adopted again
        image_size=config["image_size"],
    script:
        "../scripts/pretrain/adopt_weights.py"
