"""
This part of the workflow checks the config and names the files of the grid.

REQUIRED INPUTS:

    config = config.yaml, and what --configfile and --config put on top

OUTPUTS: none; names and functions that the other parts use
"""

import os
import re
from functools import cache

from workflow.lib.config import (
    check_config,
    check_labelled,
    check_not_computed,
    check_released,
    check_same_run,
    check_unchanged,
    data_variant,
    inputs_of,
    network_settings,
    pretrain_variant,
    recipe,
)
from workflow.lib.grid import (
    GIVEN,
    all_checkpoints,
    all_finetunings,
    brings_weights,
    code_files,
    is_trained_here,
    released_runs,
)
from workflow.lib.protocol import DATA, FINETUNING, SCORE, part_of, protocol_of

# Packages keep their caches here, not in the home folder, which is small on clusters; jobs inherit it.
for package in ("HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
    os.environ.setdefault(package, os.path.abspath(f".snakemake/caches/{package}"))

check_config(config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml")

GRID = config["study"]
PROTOCOL = protocol_of(config)
VARIANT = data_variant(config)
GPUS = int(config["device"] == "cuda")  # per job that runs a network
DATASETS = config["sources"] | config["targets"]
REGISTRY = os.path.relpath(f"{workflow.basedir}/workflow/registry/datasets.tsv")
RELEASED = os.path.relpath(f"{workflow.basedir}/workflow/registry/released.tsv")

check_released(config, RELEASED)


wildcard_constraints:
    run=r"[A-Za-z0-9._-]+",
    dataset=r"[A-Za-z0-9._-]+",
    target=r"[A-Za-z0-9._-]+",
    source=r"[A-Za-z0-9._-]+",
    encoder=r"[A-Za-z0-9._-]+",
    scheme=r"[A-Za-z0-9._-]+",
    freeze="frozen|tuned",
    variant=re.escape(VARIANT),
    pretrain_seed=r"\d+",
    epochs=r"\d+",
    seed=r"\d+",


def code(script):
    """Input function: the script and all modules of workflow/lib behind it, so that edits (not touches) rerun its jobs."""
    # Not a plain list: profiles can mark only single files and input functions as ancient.
    return lambda wildcards: list(code_files(workflow.basedir, script))


def gigabytes(first):
    """Memory of a job: at every further attempt as much again."""
    return lambda wildcards, attempt: f"{first * attempt}GB"


def minutes(first, longest=1440):
    """Time limit of a job: doubled at every further attempt, up to a day. Trainings need no more: they save before the limit
    and go on in the next slot."""
    return lambda wildcards, attempt: min(first * 2 ** (attempt - 1), longest)


def data_origin(name):
    """What provides a data set: the user's folder goes before generated data, these before the registry."""
    return "folder" if DATASETS[name]["folder"] else "generated" if config["data"]["generate"] else "registry"


def datasets_from(origin):
    """Wildcard constraint: the names of this origin; matches nothing where there are none."""
    return "|".join(re.escape(name) for name in DATASETS if data_origin(name) == origin) or "(?!)"


def of_dataset(key):
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def of_target(key):
    return lambda wildcards: config["targets"][wildcards.target].get(key)


def volume_settings(wildcards):
    """Settings of NIfTI volumes in one mapping, as Snakemake compares params without their names: a crop of 64 could hide 64
    slices. None without any, as targets had none before these existed: their data, and all training on them, stay."""
    target = config["targets"][wildcards.target]
    return {key: target[key] for key in ("window", "slices") if key in target} or None


def masks_to_learn(wildcards):
    """The masks of a target; an error where it has none, before anything runs."""
    check_labelled(config, wildcards.target)
    return f"<data>/{wildcards.target}/{VARIANT}/masks.npy"


def deposited_files(wildcards):
    folder = config["deposited"][wildcards.run]["folder"]
    return [f"{folder}/{name}" for name in ("downstream_scores.csv", "robustness_scores.csv")] if folder else []


def encoder_settings(wildcards):
    return network_settings(config["encoders"][wildcards.encoder])


def network_inputs(wildcards):
    return inputs_of(config, wildcards.encoder)


def source_file(name):
    return workflow.pathvars.apply(f"<data>/{config['pretraining']['images']}/{name}")


# Arguments of the pretraining jobs. That they take `output` keeps Snakemake from tracking these paths: moved data repeat nothing.
def source_card(wildcards, output):
    return source_file("source.json")


def source_index(wildcards, output):
    return source_file("index.csv.gz") if is_trained_here(config, wildcards.encoder) else None


def released_files(wildcards, output):
    return workflow.pathvars.apply("<data>/released/files.json")


def scratch_folder(wildcards, output):
    return config["pretraining"]["scratch"]


def checkpoint_folder(wildcards):
    scheme = wildcards.get("scheme", "random")
    return workflow.pathvars.apply(f"<pretrain>/{wildcards.encoder}/{scheme}/seed{wildcards.pretrain_seed}")


def pretraining_source(wildcards):
    """The images, until the checkpoints exist. Not `ancient`, which hides all jobs behind an input that is remade.

    Random weights of an encoder that is not trained here need none.
    """
    if not is_trained_here(config, wildcards.encoder):
        return {}
    epochs = config["pretraining"]["keep"] if "scheme" in wildcards.keys() else [0]
    finished = all(os.path.exists(f"{checkpoint_folder(wildcards)}/epoch{epoch}.json") for epoch in epochs)
    return {} if finished else {"source": source_file("source.json"), "index": source_file("index.csv.gz")}


def pretraining_recipe(wildcards):
    """The recipe; an error where finished checkpoints were made otherwise, so that they are never lost unasked."""
    values = recipe(config, wildcards.encoder, wildcards.scheme)
    settings = {"recipe": values, "encoder": encoder_settings(wildcards), "precision": config["precision"]}
    settings |= {"inputs": network_inputs(wildcards), "image_size": config["image_size"]}
    check_unchanged(checkpoint_folder(wildcards), settings, source_file("index.csv.gz"))
    return values


def released_weights(wildcards):
    """The study's files, until the checkpoint exists, so that moving or fetching them again repeats nothing."""
    card = f"<pretrain>/{wildcards.encoder}/{wildcards.scheme}/seed0/epoch{wildcards.epochs}.json"
    return [] if os.path.exists(workflow.pathvars.apply(card)) else "<data>/released/files.json"


@cache
def finetuning_protocol():
    """The protocol's switches; an error where the run's finished fine-tunings were made otherwise."""
    protocol = part_of(PROTOCOL, FINETUNING)
    settings = {"protocol": protocol, "recipe": config["finetune"], "image_size": config["image_size"]}
    check_same_run(workflow.pathvars.apply("<run>/finetune"), settings | {"precision": config["precision"]})
    return protocol


def own_schemes():
    """The schemes that each encoder of the grid has checkpoints of."""
    return {name: [GIVEN] if brings_weights(config, name) else GRID["schemes"] for name in GRID["encoders"]}


def prepared_data():
    trained = any(is_trained_here(config, encoder) for encoder in GRID["encoders"])
    return [
        *collect("<data>/{target}/{variant}/card.json", target=GRID["targets"], variant=VARIANT),
        *([source_file("index.csv.gz")] if trained else []),
        *(["<data>/released/files.json"] if released_runs(config) else []),
    ]


def checkpoint_files():
    return [f"<pretrain>/{checkpoint.path}.safetensors" for checkpoint in all_checkpoints(config)]


def score_files():
    return [
        f"<run>/scores/{target}/{checkpoint.path}.csv"
        for target in GRID["targets"]
        for checkpoint in all_checkpoints(config)
    ]


def finetune_files():
    return [f"<run>/finetune/{finetuning.path}/card.json" for finetuning in all_finetunings(config)]


def run_stats(run):
    table = "<results>/{run}/tables/{name}.csv"
    return [
        *collect(table, run=run, name=TABLES),
        f"<results>/{run}/tables/data_quality.txt",
        f"<results>/{run}/answer.json",
    ]


def run_figures(run):
    return collect("<results>/{run}/figures/{name}.{kind}", run=run, name=FIGURES, kind=["pdf", "png", "csv"])


def run_tables(run):
    return collect("<results>/{run}/tables/{name}.{kind}", run=run, name=TABLES, kind=["tex", "csv"])


def one_product(run, name):
    folder, kinds = ("figures", ["pdf", "png", "csv"]) if name in FIGURES else ("tables", ["tex", "csv"])
    return collect("<results>/{run}/{folder}/{name}.{kind}", run=run, folder=folder, name=name, kind=kinds)


def run_products(run):
    return [*run_figures(run), *run_tables(run), *run_stats(run), f"<results>/{run}/answer.txt"]
