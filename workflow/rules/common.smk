"""
This part of the workflow checks the config, and holds what all rules share.

REQUIRED INPUTS:

    config = config.yaml, and what --configfile and --config put on top

OUTPUTS: none; names and functions that the other parts use
"""

import os
import re
from functools import cache

from workflow.lib.config import (
    cached_sha256,
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
from workflow.lib.config_checks import check_folder
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
from workflow.lib.rank.candidates import rank_candidates, to_confirm
from workflow.lib.run import UserError, read_json

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
