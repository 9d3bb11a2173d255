"""
This part of the workflow finds or generates the data sets, checks them, and brings them to the size of the networks.

REQUIRED INPUTS:

    config = sources and targets: layout and, where the data lie in a folder of yours, folder
    workflow/registry/datasets.tsv = pages, archives, checksums and counts of the public data sets
    <data>/downloads/ = archives that you fetched by hand; the rest is downloaded into it

OUTPUTS:

    <data>/{dataset}/source.json                  where the raw data lie
    <data>/{target}/images.csv                     images and masks (if there are any), all checked
    <data>/{target}/{variant}/split.csv           training, validation and test split
    <data>/{target}/{variant}/images.npy, masks.npy, truth.npz, items.csv, card.json

Code is not an input here, as all training depends on these files. After an edit that matters: snakemake -R prepare_target
"""


rule use_folder:
    """Use a data set in place; ImageNet's archives are checked, which takes minutes."""
    input:
        registry=ancient(REGISTRY),
    output:
        source="<data>/{dataset}/source.json",
    log:
        "<logs>/data/use_folder-{dataset}.log",
    benchmark:
        "<benchmarks>/data/use_folder-{dataset}.tsv"
    wildcard_constraints:
        dataset=datasets_from("folder"),
    priority: 1  # bad images are found before anything is downloaded or trained
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(2),
        runtime=minutes(120),
    params:
        layout=of_dataset("layout"),
        folder=own_folder,
    script:
        "../scripts/data/use_folder.py"


rule generate_dataset:
    """Generate a data set in the official layout."""
    output:
        source="<data>/{dataset}/source.json",
    log:
        "<logs>/data/generate_dataset-{dataset}.log",
    benchmark:
        "<benchmarks>/data/generate_dataset-{dataset}.tsv"
    wildcard_constraints:
        dataset=datasets_from("generated"),
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(2),
        runtime=minutes(30),
    params:
        layout=of_dataset("layout"),
        image_size=config["image_size"],
    script:
        "../scripts/data/generate_dataset.py"


rule fetch_dataset:
    """Download what may be downloaded, take what was put into <data>/downloads, check and unpack it."""
    input:
        registry=ancient(REGISTRY),
    output:
        source="<data>/{dataset}/source.json",
    log:
        "<logs>/data/fetch_dataset-{dataset}.log",
    benchmark:
        "<benchmarks>/data/fetch_dataset-{dataset}.tsv"
    wildcard_constraints:
        dataset=datasets_from("registry"),
    localrule: True
    conda:
        "../../envs/ml.yaml"
    params:
        layout=of_dataset("layout"),
        downloads=lambda wildcards, output: os.path.join(os.path.dirname(output.source), "../downloads"),
    script:
        "../scripts/data/fetch_dataset.py"


rule verify_target:
    """Read every image and mask of a target; every problem is listed."""
    input:
        source="<data>/{target}/source.json",
        registry=ancient(REGISTRY),
    output:
        cases="<data>/{target}/images.csv",
    log:
        "<logs>/data/verify_target-{target}.log",
    benchmark:
        "<benchmarks>/data/verify_target-{target}.tsv"
    priority: 1
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(4),
        runtime=minutes(60),
    params:
        classes=of_target("classes"),
        group=of_target("group"),
        # `output` keeps Snakemake from tracking it: it changes warnings only.
        sources=lambda wildcards, output: own_folders("sources"),
    script:
        "../scripts/data/verify_target.py"


rule split_target:
    """Assign whole patients to training, validation and test."""
    input:
        cases="<data>/{target}/images.csv",
    output:
        split="<data>/{target}/{variant}/split.csv",
    log:
        "<logs>/data/split_target-{target}-{variant}.log",
    benchmark:
        "<benchmarks>/data/split_target-{target}-{variant}.tsv"
    priority: 1
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(1),
        runtime=minutes(10),
    params:
        validation=PROTOCOL["validation"],
        split_seed=config["data"]["split_seed"],
        test_fraction=config["data"]["test_fraction"],
        validation_fraction=config["data"]["validation_fraction"],
        train_cases=of_target("train_cases"),
        # `output` keeps Snakemake from tracking it: it changes messages only.
        classes=lambda wildcards, output: of_target("classes")(wildcards),
    script:
        "../scripts/data/split_target.py"


rule prepare_target:
    """Bring images and masks to the size of the network inputs, as arrays."""
    input:
        source="<data>/{target}/source.json",
        cases="<data>/{target}/images.csv",
        split="<data>/{target}/{variant}/split.csv",
    output:
        images="<data>/{target}/{variant}/images.npy",
        masks="<data>/{target}/{variant}/masks.npy",
        truth="<data>/{target}/{variant}/truth.npz",
        table="<data>/{target}/{variant}/items.csv",
        card="<data>/{target}/{variant}/card.json",
    log:
        "<logs>/data/prepare_target-{target}-{variant}.log",
    benchmark:
        "<benchmarks>/data/prepare_target-{target}-{variant}.tsv"
    priority: 1
    conda:
        "../../envs/ml.yaml"
    threads: 2
    resources:
        mem=gigabytes(8),
        runtime=minutes(60),
    params:
        protocol=part_of(PROTOCOL, DATA),
        image_size=config["image_size"],
        classes=of_target("classes"),
        crop=of_target("crop"),
        volumes=volume_settings,
        # `output` keeps Snakemake from tracking it: what it changes comes with the cases.
        group=lambda wildcards, output: of_target("group")(wildcards),
    script:
        "../scripts/data/prepare_target.py"
