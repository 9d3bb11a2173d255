"""
This part of the workflow pretrains encoders only for as long as a score on a target's training images improves.

REQUIRED INPUTS:

    <data>/{source}/source.json, index.csv.gz
    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy

OUTPUTS, in <run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/:

    kept.safetensors, kept.json, kept.pt          the best checkpoint, and its training state
    history.csv, decision.json                    every epoch; every check, what was kept, why it stopped, what that saved
    cooled-{epochs}.safetensors, .json, .csv      the same with its schedule finished in that many epochs

They belong to the run, not to <pretrain>: what is kept depends on the target's images and on `stopping`. Inputs count until there
is a decision, and code does not: neither repeats days of training. Changed settings are refused, as for whole pretrainings.
"""


rule pretrain_until:
    """Pretrain an encoder until its score on the target no longer improves."""
    input:
        unpack(stopping_inputs),
    output:
        weights=f"{STOPPED}/kept.safetensors",
        card=f"{STOPPED}/kept.json",
        state=f"{STOPPED}/kept.pt",
        history=f"{STOPPED}/history.csv",
        decision=f"{STOPPED}/decision.json",
    log:
        "<logs>/stop/{target}-{encoder}-{scheme}-{pretrain_seed}.log",
    benchmark:
        "<benchmarks>/stop/{target}-{encoder}-{scheme}-{pretrain_seed}.tsv"
    wildcard_constraints:
        pretrain_seed=r"[1-9]\d*",
        scheme="(?!random/)[A-Za-z0-9._-]+",
    conda:
        "../../envs/ml.yaml"
    threads: 16
    resources:
        gpu=GPUS,
        nodes=1,
        mem=gigabytes(64),
        runtime=minutes(1440),
    params:
        source_card=source_card,
        index=source_index,
        data_folder=data_folder,
        encoder=encoder_settings,
        recipe=stopping_recipe,
        stopping=stopping_rule,
        scoring=scoring,
        image_size=config["image_size"],
        inputs=network_inputs,
        precision=config["precision"],
        start=start,
        rate=rate,
        scratch=scratch_folder,
    script:
        "../scripts/pretrain/pretrain_until.py"


rule cool_down:
    """Finish the schedule of a pretraining that was stopped, in some more epochs."""
    input:
        unpack(rate_needed),
        decision=f"{STOPPED}/decision.json",
        state=ancient(f"{STOPPED}/kept.pt"),
    output:
        weights=f"{STOPPED}/cooled-{{epochs}}.safetensors",
        card=f"{STOPPED}/cooled-{{epochs}}.json",
        history=f"{STOPPED}/cooled-{{epochs}}.csv",
    log:
        "<logs>/stop/{target}-{encoder}-{scheme}-{pretrain_seed}-cooled-{epochs}.log",
    benchmark:
        "<benchmarks>/stop/{target}-{encoder}-{scheme}-{pretrain_seed}-cooled-{epochs}.tsv"
    wildcard_constraints:
        epochs=r"[1-9]\d*",
    conda:
        "../../envs/ml.yaml"
    threads: 16
    resources:
        gpu=GPUS,
        nodes=1,
        mem=gigabytes(64),
        runtime=minutes(1440),
    params:
        source_card=source_card,
        index=source_index,
        encoder=encoder_settings,
        recipe=stopping_recipe,
        image_size=config["image_size"],
        inputs=network_inputs,
        precision=config["precision"],
        start=start,
        rate=rate,
        scratch=scratch_folder,
    script:
        "../scripts/pretrain/cool_down.py"
