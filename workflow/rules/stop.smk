"""
This part of the workflow pretrains encoders only for as long as a score on a target's training images improves.

REQUIRED INPUTS:

    <data>/{source}/source.json, index.csv.gz
    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy

OUTPUTS, in <run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/:

    kept.safetensors, kept.json, kept.pt          the best checkpoint, and its training state
    history.csv, decision.json                    every epoch; every check, what was kept, why it stopped, what that saved
    cooled-{epochs}.safetensors, .json, .csv      the same with its schedule finished in so many epochs

They belong to the run, not to <pretrain>: what is kept depends on the target's images and on `stopping`. Inputs count until there
is a decision, and code does not: neither repeats days of training. Changed settings are refused, as for whole pretrainings.
"""


def stopped_folder(wildcards):
    names = f"{wildcards.target}/{wildcards.encoder}/{wildcards.scheme}/seed{wildcards.pretrain_seed}"
    return workflow.pathvars.apply(f"<run>/stopped/{names}")


def data_folder(wildcards, output):
    return workflow.pathvars.apply(f"<data>/{wildcards.target}/{VARIANT}")


def stopping_inputs(wildcards):
    """Source and target, until there is a decision."""
    if os.path.exists(f"{stopped_folder(wildcards)}/decision.json"):
        return {}
    source = {"source": source_file("source.json"), "index": source_file("index.csv.gz")}
    names = ("card.json", "items.csv", "images.npy", "masks.npy")
    return source | {"data": [f"<data>/{wildcards.target}/{VARIANT}/{name}" for name in names]}


def stopping_rule(wildcards):
    """Score, setting, patience, tolerance, and the epochs of the checks; the last epoch of the schedule is one."""
    choice = {key: value for key, value in config["stopping"].items() if key not in ("every", "cool_down")}
    every, epochs = config["stopping"]["every"], recipe(config, wildcards.encoder, wildcards.scheme)["epochs"]
    checks = range(every, epochs, every) if every else config["pretraining"]["keep"]
    return choice | {"checks": sorted({*checks, epochs})}


def scoring(wildcards):
    return {key: value for key, value in config["score"].items() if key != "scores"}


def stopping_recipe(wildcards):
    """The recipe; an error where a finished pretraining was stopped under other settings, so that it is never lost unasked."""
    values = recipe(config, wildcards.encoder, wildcards.scheme)
    settings = {"recipe": values, "encoder": encoder_settings(wildcards), "precision": config["precision"]}
    settings |= {"inputs": network_inputs(wildcards), "image_size": config["image_size"]}
    settings |= {"stopping": stopping_rule(wildcards), "scoring": scoring(wildcards)}
    check_unchanged(stopped_folder(wildcards), settings, source_file("index.csv.gz"), cards="kept.json")
    return values


def stopped_files():
    """For every target and every pretraining of the grid: the decision, and the cool-down if one is asked for."""
    epochs = config["stopping"]["cool_down"]
    names = ["decision.json", *([f"cooled-{epochs}.safetensors"] if epochs else [])]
    trained = [checkpoint for checkpoint in all_checkpoints(config) if checkpoint.scheme in GRID["schemes"]]
    runs = dict.fromkeys(os.path.dirname(checkpoint.path) for checkpoint in trained if checkpoint.pretrain_seed > 0)
    return [f"<run>/stopped/{target}/{run}/{name}" for target in GRID["targets"] for run in runs for name in names]


rule pretrain_until:
    """Pretrain an encoder until its score on the target no longer improves."""
    input:
        unpack(stopping_inputs),
    output:
        weights="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/kept.safetensors",
        card="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/kept.json",
        state="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/kept.pt",
        history="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/history.csv",
        decision="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/decision.json",
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
        scratch=scratch_folder,
    script:
        "../scripts/pretrain/pretrain_until.py"


rule cool_down:
    """Finish the schedule of a pretraining that was stopped, in some more epochs."""
    input:
        decision="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/decision.json",
        state=ancient("<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/kept.pt"),
    output:
        weights="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/cooled-{epochs}.safetensors",
        card="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/cooled-{epochs}.json",
        history="<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}/cooled-{epochs}.csv",
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
        scratch=scratch_folder,
    script:
        "../scripts/pretrain/cool_down.py"
