"""
This part of the workflow draws contact sheets: what networks see of a target, and what they segment.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy
    <run>/answer.json                                                         (for segmentations)
    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/
        card.json, cases.csv, predictions.npz           (the last is not an input: old fine-tunings, which kept none, are not repeated)

OUTPUTS:

    <run>/gallery/{target}-images.pdf, .png, .csv                 training images as networks see them, masks outlined
    <run>/gallery/{target}-segmentations.pdf, .png, .csv          image, truth, predictions and errors of test cases
"""


rule draw_images:
    """Draw training images of a target as networks see them, with their masks."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        arrays=ancient(
            [f"<data>/{{target}}/{VARIANT}/{name}" for name in ("items.csv", "images.npy", "masks.npy")],
        ),
        code=code("gallery/draw_images.py"),
    output:
        pdf="<run>/gallery/{target}-images.pdf",
        png=report(
            "<run>/gallery/{target}-images.png",
            caption="../report/images.rst",
            category="Contact sheets",
            labels={"target": "{target}", "figure": "images as networks see them"},
        ),
        csv="<run>/gallery/{target}-images.csv",
    log:
        "<logs>/gallery/draw_images-{target}.log",
    benchmark:
        "<benchmarks>/gallery/draw_images-{target}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        names=config["gallery"]["names"],
    script:
        "../scripts/gallery/draw_images.py"


rule draw_segmentations:
    """Draw test cases of a target with the segmentations of the best start, the default and random weights."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        arrays=ancient(
            [f"<data>/{{target}}/{VARIANT}/{name}" for name in ("items.csv", "images.npy", "masks.npy")],
        ),
        answer="<run>/answer.json",
        cards=lambda wildcards: finetune_files(everything=False, target=wildcards.target),
        code=code("gallery/draw_segmentations.py"),
    output:
        pdf="<run>/gallery/{target}-segmentations.pdf",
        png=report(
            "<run>/gallery/{target}-segmentations.png",
            caption="../report/segmentations.rst",
            category="Contact sheets",
            labels={"target": "{target}", "figure": "segmentations of test cases"},
        ),
        csv="<run>/gallery/{target}-segmentations.csv",
    log:
        "<logs>/gallery/draw_segmentations-{target}.log",
    benchmark:
        "<benchmarks>/gallery/draw_segmentations-{target}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        names=config["gallery"]["names"],
    script:
        "../scripts/gallery/draw_segmentations.py"
