"""
This part of the workflow pretrains the encoders.

REQUIRED INPUTS:

    <data>/{source}/source.json, index.csv.gz; of a target that is a source: <data>/{target}/{variant}/pretraining/...

OUTPUTS:

    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json
    <pretrain>/{encoder}/random/seed{pretrain_seed}/epoch0.safetensors, .json   (untrained weights)
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/history.csv

The source is an input only until the checkpoints exist: moving it repeats no training, and checkpoints of other images are
refused. Code is not an input here: an edit never repeats days of training. After a change that matters: snakemake -R pretrain_encoder
"""

# Arguments of the jobs. That they take `output` keeps Snakemake from tracking these paths: moved data repeat nothing.


rule pretrain_encoder:
    """Train an encoder on the scheme's task; every epoch in pretraining.keep becomes a checkpoint."""
    input:
        unpack(pretraining_source),
    output:
        weights=collect(
            f"{TRAINED}/epoch{{epochs}}.safetensors",
            epochs=config["pretraining"]["keep"],
            allow_missing=True,
        ),
        cards=collect(
            f"{TRAINED}/epoch{{epochs}}.json",
            epochs=config["pretraining"]["keep"],
            allow_missing=True,
        ),
        history=f"{TRAINED}/history.csv",
    log:
        "<logs>/pretrain/{encoder}-{scheme}-{pretrain_seed}.log",
    benchmark:
        "<benchmarks>/pretrain/{encoder}-{scheme}-{pretrain_seed}.tsv"
    wildcard_constraints:
        pretrain_seed=r"[1-9]\d*",
        scheme="(?!random/)[A-Za-z0-9._-]+",
    priority: 1  # everything waits for it
    conda:
        "../../envs/ml.yaml"
    threads: 16
    resources:
        gpu=GPUS,
        nodes=1,  # else SLURM may spread several GPUs over nodes, of which one process starts all
        mem=gigabytes(64),
        runtime=minutes(1440),
    params:
        source_card=source_card,
        index=source_index,
        encoder=encoder_settings,
        recipe=pretraining_recipe,
        keep=config["pretraining"]["keep"],
        image_size=config["image_size"],
        inputs=network_inputs,
        precision=config["precision"],
        start=start,
        rate=rate,
        scratch=scratch_folder,
    script:
        "../scripts/pretrain/pretrain_encoder.py"


rule random_weights:
    """Draw the untrained encoders of length 0, one for each fine-tuning seed."""
    input:
        unpack(random_source),
    output:
        weights=collect("<pretrain>/{{encoder}}/random/seed{seed}/epoch0.safetensors", seed=GRID["finetune_seeds"]),
        cards=collect("<pretrain>/{{encoder}}/random/seed{seed}/epoch0.json", seed=GRID["finetune_seeds"]),
    log:
        "<logs>/pretrain/{encoder}-random.log",
    benchmark:
        "<benchmarks>/pretrain/{encoder}-random.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem=gigabytes(4),
        runtime=minutes(10),
    params:
        source_card=source_card,
        index=source_index,
        encoder=encoder_settings,
        image_size=config["image_size"],
    script:
        "../scripts/pretrain/random_weights.py"
