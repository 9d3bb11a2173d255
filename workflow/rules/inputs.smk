"""
This part of the workflow says what rules ask for: input functions, and params that depend on wildcards.

REQUIRED INPUTS: the names of common.smk; in jobs, the checkpoint rule rank_target of rank.smk

OUTPUTS: none; functions that the other parts use
"""


def data_origin(name):
    """What provides a data set: the user's folder goes before generated data, these before the registry."""
    return "folder" if DATASETS[name]["folder"] else "generated" if config["data"]["generate"] else "registry"


def named_source(source):
    """A source of pretraining as tables name it: generated photographs are not what their name says."""
    plain = data_origin(source) != "generated" or source in [*config["targets"], "generated"]
    return source if plain else f"{source} (generated)"


def warnings_of(run):
    """What must be known before anything of a run is read: whether its images are generated."""
    if run in DEPOSITED:
        return []
    if any(data_origin(target) == "generated" for target in GRID["targets"]):
        return ["The images are generated: nothing here is about real ones."]
    if any(data_origin(source) == "generated" for source in sources()):
        return ["Encoders were pretrained on generated images: nothing here is about ImageNet weights."]
    return []


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


def of_targets(file):
    """Input function: a file of the rule's target, then those of the run's other targets."""
    return lambda wildcards: [
        f"<data>/{target}/{file}".format(**dict(wildcards.items()))
        for target in dict.fromkeys([wildcards.target, *GRID["targets"]])
    ]


def own_folders(kind):
    """{name: folder} of the user's own sources or targets: each is searched for images of the other kind."""
    return {name: entry["folder"] for name, entry in config[kind].items() if entry["folder"]}


def volume_settings(wildcards):
    """Settings of NIfTI volumes in one mapping, as Snakemake compares params without their names: a crop of 64 could hide 64
    slices. None without any, as targets had none before these existed: their data, and all training on them, stay."""
    target = config["targets"][wildcards.target]
    return {key: target[key] for key in ("window", "slices") if key in target} or None


def checkpoints_to_score(wildcards):
    return checkpoints_of(config, wildcards.encoder, wildcards.pretraining)


def weights_to_score(suffix):
    """Input function: the checkpoints of a pretraining."""
    return lambda wildcards: [f"<pretrain>/{c.path}{suffix}" for c in checkpoints_to_score(wildcards)]


def masks_to_learn(wildcards):
    """The masks of a target; an error where it has none, before anything runs."""
    check_labelled(config, wildcards.target)
    return f"<data>/{wildcards.target}/{VARIANT}/masks.npy"


def starting_weights(suffix):
    """Input function: the checkpoint that all seeds start from, or each seed's random weights; of a given network its file."""

    def files(wildcards):
        if wildcards.encoder in GIVEN_NETWORKS:
            return [GIVEN_NETWORKS[wildcards.encoder]["weights"]] if suffix == ".safetensors" else []
        if wildcards.pretraining == RANDOM:
            seeds = seeds_in(wildcards.seeds)
            # Drawn again for more seeds, they are the same.
            return [ancient(f"<pretrain>/{wildcards.encoder}/random/seed{seed}/epoch0{suffix}") for seed in seeds]
        return [f"<pretrain>/{wildcards.encoder}/{wildcards.pretraining}/epoch{wildcards.epochs}{suffix}"]

    return files


@cache
def finetuning_protocol():
    """The protocol's switches; an error where the run's finished fine-tunings were made otherwise."""
    protocol = part_of(PROTOCOL, FINETUNING)
    settings = {"protocol": protocol, "recipe": config["finetune"], "image_size": config["image_size"]}
    settings |= {"prepared": part_of(PROTOCOL, DATA), "source": config["pretraining"]["source"]}
    check_same_run(workflow.pathvars.apply("<run>/finetune"), settings | {"precision": config["precision"]})
    return protocol


def own_schemes():
    """The schemes that each encoder of the grid has checkpoints of."""
    return {name: [GIVEN] if brings_weights(config, name) else GRID["schemes"] for name in GRID["encoders"]}


def deposited_files(wildcards):
    folder = config["deposited"][wildcards.run]["folder"]
    return [f"{folder}/{name}" for name in ("downstream_scores.csv", "robustness_scores.csv")] if folder else []


def deposited_as(run):
    """What the tables of a deposited run are known by: their hashes, or where none are given the place."""
    return run["sha256"] or [run["folder"], run["url"]]


def of_run(name):
    """Input function: a table that own runs have, and deposited ones only where their folder holds it, compressed or not."""

    def table(wildcards):
        if wildcards.run not in DEPOSITED:
            return f"<results>/{wildcards.run}/{name}"
        folder = DEPOSITED[wildcards.run]["folder"]
        path = f"{folder}/{os.path.basename(name)}"  # which holds all in one place
        paths = [path, f"{path}.gz"] if folder else []
        return next(filter(os.path.exists, paths), [])

    return table


def cards_of_run(wildcards):
    """What says how the run was made: the cards of its fine-tunings, or of deposited runs the card in their folder."""
    if wildcards.run in DEPOSITED:
        return collect(of_run("card.json")(wildcards))  # a list, of one file too
    return finetune_files(everything=False) if wildcards.run == config["run"] else []


def tables_shown(names):
    """Input function: the tables of a figure. Those of transfers and pools are not copied from deposited runs."""
    kept = {"transfer_scores.csv", "tables/pool.csv", "tables/pool_members.csv"}
    return lambda wildcards: [
        of_run(name)(wildcards) if name in kept else f"<results>/{wildcards.run}/{name}" for name in names
    ]


def candidate_files(pattern):
    """Input function: the files of all candidates, each once; `pattern` has the target's wildcard, and {path} of the checkpoint
    or {encoder} and {pretraining}."""
    return lambda wildcards: list(
        dict.fromkeys(
            pattern.format(
                path=checkpoint.path,
                encoder=checkpoint.encoder,
                pretraining=checkpoint.pretraining,
                target=wildcards.target,
            )
            for checkpoint in rank_candidates(config)
        )
    )


def cases_to_confirm(wildcards):
    """The fine-tunings of the first candidates and the default, known once there is a ranking."""
    checkpoints.rank_target.get(target=wildcards.target)
    return confirmed_cases(wildcards.target)


def confirmed_cases(target):
    """The same, of a target; until there is a ranking, as many others are counted instead."""
    number, facts = config["rank"]["confirm"], workflow.pathvars.apply(f"<run>/rank/{target}/ranking.json")
    candidates = rank_candidates(config)
    chosen = candidates[: number + 1]
    if os.path.exists(facts):
        paths = [candidate["path"] for candidate in to_confirm(read_json(facts), number)]
        chosen = [candidate for candidate in candidates if candidate.path in paths]
    way, seed = Way(GRID["freeze"][0]).name, GRID["finetune_seeds"][0]
    return [
        f"<run>/rank/{target}/confirm/fold{fold}/{way}/{c.encoder}/{c.pretraining}/epoch{c.epochs}-seeds{seed}/cases.csv"
        for c in chosen
        for fold in range(config["rank"]["folds"])
    ]
