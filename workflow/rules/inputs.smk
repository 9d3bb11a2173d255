"""
This part of the workflow says what rules ask for: input functions, and params that depend on wildcards.

REQUIRED INPUTS: the names of common.smk

OUTPUTS: none; functions that the other parts use
"""


def data_origin(name):
    """What provides a data set: the user's folder goes before generated data, these before the registry."""
    return "folder" if DATASETS[name]["folder"] else "generated" if config["data"]["generate"] else "registry"


def datasets_from(origin):
    """Wildcard constraint: the names of this origin; matches nothing where there are none."""
    return "|".join(re.escape(name) for name in DATASETS if data_origin(name) == origin) or "(?!)"


def of_dataset(key):
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def own_folder(wildcards):
    """The user's folder; an error where it is absent, before anything runs, unless it was read already."""
    folder = DATASETS[wildcards.dataset]["folder"]
    source = workflow.pathvars.apply(f"<data>/{wildcards.dataset}/source.json")
    if not (os.path.exists(source) and read_json(source)["folder"] == os.path.abspath(folder)):
        check_folder(wildcards.dataset, folder)
    return folder


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


def pretraining_settings(wildcards):
    """What the cards of a pretraining's checkpoints must say."""
    values = recipe(config, wildcards.encoder, wildcards.scheme)
    settings = {"recipe": values, "encoder": encoder_settings(wildcards), "precision": config["precision"]}
    return settings | {"inputs": network_inputs(wildcards), "image_size": config["image_size"]}


def pretraining_recipe(wildcards):
    """The recipe; an error where finished checkpoints were made otherwise, so that they are never lost unasked."""
    settings = pretraining_settings(wildcards)
    check_unchanged(checkpoint_folder(wildcards), settings, source_file("index.csv.gz"))
    return settings["recipe"]


def given_weights(wildcards):
    return config["encoders"][wildcards.encoder]["weights"]


def given_sha256(wildcards):
    source = given_weights(wildcards)
    return None if source == "timm" else cached_sha256(source)


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
    settings = pretraining_settings(wildcards) | {"stopping": stopping_rule(wildcards), "scoring": scoring(wildcards)}
    check_unchanged(stopped_folder(wildcards), settings, source_file("index.csv.gz"), cards="kept.json")
    return settings["recipe"]


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


def candidate_files(pattern):
    """Input function: one file of every candidate; `pattern` has {path}, and the target's wildcard."""
    return lambda wildcards: [
        pattern.format(path=checkpoint.path, target=wildcards.target) for checkpoint in rank_candidates(config)
    ]


def cases_to_confirm(wildcards):
    """The fine-tunings of the first candidates and the default, known once there is a ranking."""
    checkpoints.rank_target.get(target=wildcards.target)
    return confirmed_cases(wildcards.target)


def confirmed_cases(target):
    """The same, of a target; until there is a ranking, as many others stand for them."""
    number, facts = config["rank"]["confirm"], workflow.pathvars.apply(f"<run>/rank/{target}/ranking.json")
    paths = [candidate.path for candidate in rank_candidates(config)[: number + 1]]
    if os.path.exists(facts):
        paths = [candidate["path"] for candidate in to_confirm(read_json(facts), number)]
    freeze, seed = "frozen" if GRID["freeze"][0] else "tuned", GRID["finetune_seeds"][0]
    return [
        f"<run>/rank/{target}/confirm/fold{fold}/{freeze}/{path}-seed{seed}/cases.csv"
        for path in paths
        for fold in range(config["rank"]["folds"])
    ]


def of_run(name):
    """Input function: a table that own runs have, and deposited ones only where their folder holds it."""

    def table(wildcards):
        if wildcards.run not in DEPOSITED:
            return f"<results>/{wildcards.run}/{name}"
        folder = DEPOSITED[wildcards.run]["folder"]
        path = f"{folder}/{name}"
        return path if folder and os.path.exists(path) else []

    return table
