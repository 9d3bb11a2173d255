"""
This part of the workflow lists the images of pretraining sources.

REQUIRED INPUTS:

    <data>/{source}/source.json
    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy        of a target that is a source

OUTPUTS:

    <data>/{source}/index.csv.gz                  images, labels and perhaps masks of a pretraining source
    <data>/{source}/side{side}/                   a smaller copy of it, in one archive
    <data>/{target}/{variant}/pretraining/        the same of a target that is a source: its images outside the test split

Code is not an input here, as all training depends on these files. After an edit that matters: snakemake -R index_source
"""


rule index_source:
    """List the images of a pretraining source with their labels; archives are read in place."""
    input:
        source="<data>/{source}/source.json",
        registry=ancient(REGISTRY),
    output:
        index="<data>/{source}/index.csv.gz",
    log:
        "<logs>/data/index_source-{source}.log",
    benchmark:
        "<benchmarks>/data/index_source-{source}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(4),
        runtime=minutes(120),
    params:
        targets=lambda wildcards, output: own_folders("targets"),  # not tracked either
    script:
        "../scripts/data/index_source.py"


rule shrink_source:
    """Copy a pretraining source with smaller images into one archive, which is read faster."""
    input:
        source="<data>/{source}/source.json",
        index="<data>/{source}/index.csv.gz",
    output:
        source="<data>/{source}/side{side}/source.json",
        index="<data>/{source}/side{side}/index.csv.gz",
        images="<data>/{source}/side{side}/images.tar",
    log:
        "<logs>/data/shrink_source-{source}-{side}.log",
    benchmark:
        "<benchmarks>/data/shrink_source-{source}-{side}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 8
    resources:
        mem=gigabytes(8),
        runtime=minutes(240),
    script:
        "../scripts/data/shrink_source.py"


rule list_training_images:
    """Make a pretraining source of a target's images outside its test split."""
    input:
        data="<data>/{target}/{variant}/card.json",
        table="<data>/{target}/{variant}/items.csv",
        arrays=["<data>/{target}/{variant}/images.npy", "<data>/{target}/{variant}/masks.npy"],
        # Of this target and all others: they are compared only, and repeat nothing.
        sources=ancient(of_targets("source.json")),
        cases=ancient(of_targets("images.csv")),
        splits=ancient(of_targets("{variant}/split.csv")),
    output:
        source="<data>/{target}/{variant}/pretraining/source.json",
        index="<data>/{target}/{variant}/pretraining/index.csv.gz",
        images=directory("<data>/{target}/{variant}/pretraining/images"),
    log:
        "<logs>/data/list_training_images-{target}-{variant}.log",
    benchmark:
        "<benchmarks>/data/list_training_images-{target}-{variant}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(4),
        runtime=minutes(60),
    script:
        "../scripts/data/list_training_images.py"
