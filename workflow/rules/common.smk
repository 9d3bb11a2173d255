"""
This part of the workflow checks the config, and holds what all rules share.

REQUIRED INPUTS:

    config = config.yaml, and what --configfile and --config put on top

OUTPUTS: none; names and functions that the other parts use
"""

import os
import re
import shutil
from functools import cache

from workflow.lib.job.code import code_files
from workflow.lib.job.run import UserError, read_json
from workflow.lib.networks.file_kinds import weights_in
from workflow.lib.networks.inputs import weights_inputs
from workflow.lib.rank.candidates import rank_candidates, to_confirm
from workflow.lib.study.checkpoints import (
    GIVEN,
    GIVEN_RUN,
    LOCAL_DIR,
    RANDOM,
    WAY,
    Way,
    all_checkpoints,
    all_finetunings,
    brings_weights,
    checkpoints_of,
    given_to_finetune,
    is_trained_here,
    released_runs,
    schemes_behind,
    seeds_in,
    trials_of,
    tuned_schemes,
)
from workflow.lib.study.config import (
    check_config,
    check_labelled,
    check_released,
    check_unseen,
    data_variant,
    inputs_of,
    network_settings,
    pretrain_variant,
    recipe,
)
from workflow.lib.study.folders import check_folder
from workflow.lib.study.guards import cached_sha256, check_not_computed, check_rate, check_same_run, check_unchanged
from workflow.lib.study.protocol import DATA, FINETUNING, SCORE, part_of, protocol_of

# Packages keep their caches here, not in the home folder, which is small on clusters; jobs inherit it.
for package in ("HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
    os.environ.setdefault(package, os.path.abspath(f".snakemake/caches/{package}"))

check_config(config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml")

GRID = config["study"]
PREPARED = [*GRID["targets"], *GRID["development"]]  # targets whose images are read
PROTOCOL = protocol_of(config)
VARIANT = data_variant(config)
GPUS = int(config["device"] == "cuda")  # per job that runs a network
DEPOSITED = config["deposited"]
GIVEN_NETWORKS = config["pool"]["given"]
DATASETS = config["sources"] | config["targets"]
CLAIMS = os.path.relpath(f"{workflow.basedir}/workflow/registry/claims.tsv")
REGISTRY = os.path.relpath(f"{workflow.basedir}/workflow/registry/datasets.tsv")
REPORT = os.path.relpath(f"{workflow.basedir}/workflow/report")
RELEASED = os.path.relpath(f"{workflow.basedir}/workflow/registry/released.tsv")

# Places of jobs, below which their files lie.
TRAINED = "<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}"
STOPPED = "<run>/stopped/{target}/{encoder}/{scheme}/seed{pretrain_seed}"
FINETUNED = "{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}"

check_released(config, RELEASED)


wildcard_constraints:
    run=r"[A-Za-z0-9._-]+",
    dataset=r"[A-Za-z0-9._-]+",
    target=r"[A-Za-z0-9._-]+",
    source=r"[A-Za-z0-9._-]+",
    encoder=r"[A-Za-z0-9._-]+",
    scheme=r"[A-Za-z0-9._-]+",
    way=WAY,
    variant=re.escape(VARIANT),
    pretrain_seed=r"\d+",
    pretraining=r"[A-Za-z0-9._-]+/seed\d+|random",  # a pretraining run of an encoder, or all its random weights
    epochs=r"\d+",
    seeds=r"\d[\d+-]*",


def code(script):
    """Input function: the script and all modules of workflow/lib behind it, so that edits (not touches) rerun its jobs."""
    # Not a plain list: profiles can mark only single files and input functions as ancient.
    return lambda wildcards: list(code_files(workflow.basedir, script))


def gigabytes(first):
    """Memory of a job: proportional to the attempt."""
    return lambda wildcards, attempt: f"{first * attempt}GB"


def minutes(first, longest=1440):
    """Time limit of a job: doubled at every further attempt, up to a day. Trainings need no more: they save before the limit
    and go on in the next slot."""
    return lambda wildcards, attempt: min(first * 2 ** (attempt - 1), longest)


def encoder_settings(wildcards):
    return settings_of(wildcards.encoder)


def settings_of(encoder):
    """What an encoder's network is built from, and the inputs of its weights where the config names them; or the settings of a
    given network."""
    if encoder in GIVEN_NETWORKS:
        return {key: value for key, value in GIVEN_NETWORKS[encoder].items() if key != "weights"}
    return network_settings(config["encoders"][encoder]) | weights_inputs(encoder, config["encoders"][encoder])


def starting_settings(wildcards):
    """What a fine-tuned network is built from; of a given network also its weights: others are another start."""
    given = GIVEN_NETWORKS.get(wildcards.encoder)
    if given is None:
        return encoder_settings(wildcards)
    settings = {key: given[key] for key in ("class", "arguments", "head", "channels")}
    return settings | {"weights": sha256_of_given(wildcards.encoder)}


def sha256_of_given(model):
    """Of a given network's weights; None where they are absent: Snakemake names an absent input file."""
    weights = GIVEN_NETWORKS[model]["weights"]
    return cached_sha256(weights) if os.path.exists(weights) else None


def network_inputs(wildcards):
    return "standardised" if wildcards.encoder in GIVEN_NETWORKS else inputs_of(config, wildcards.encoder)


def source_place(source):
    """The folder in which a pretraining source is listed, or a smaller copy of it."""
    if source in config["targets"]:
        return f"<data>/{source}/{VARIANT}/pretraining"
    side = config["sources"][source]["shorter_side"]
    return f"<data>/{source}/side{side}" if side else f"<data>/{source}"


def sources():
    """The data sets that encoders of the grid are pretrained on, random weights and continued schemes among them."""
    if not trains_here():
        return []
    default = config["pretraining"]["source"]
    return list(
        dict.fromkeys([default, *(config["schemes"][name]["source"] or default for name in schemes_behind(config))])
    )


def trains_here():
    """Whether any encoder of the grid is pretrained here, so that the source's images are needed."""
    return any(is_trained_here(config, encoder) for encoder in GRID["encoders"])
