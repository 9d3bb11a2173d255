"""
This part of the workflow says what the rules of pretraining ask for.

REQUIRED INPUTS: the names of common.smk

OUTPUTS: none; functions that pretrain.smk, pretrain_released.smk and pretrain_until.smk use
"""

SOURCE = {"source": "source.json", "index": "index.csv.gz"}


def source_of(wildcards):
    """Where the images of a scheme's source are listed: source.json and index.csv.gz."""
    scheme = config["schemes"].get(getattr(wildcards, "scheme", None), {})
    source = scheme.get("source") or config["pretraining"]["source"]
    return {name: workflow.pathvars.apply(f"{source_place(source)}/{file}") for name, file in SOURCE.items()}


def source_card(wildcards, output):
    return source_of(wildcards)["source"]


def source_index(wildcards, output):
    return source_of(wildcards)["index"] if is_trained_here(config, wildcards.encoder) else None


def continued(wildcards):
    """The checkpoint that a scheme continues from, or None."""
    before = config["schemes"][wildcards.scheme]["continues"]
    place = f"<pretrain>/{wildcards.encoder}/{before}/seed{wildcards.pretrain_seed}"
    return before and workflow.pathvars.apply(f"{place}/epoch{max(config['pretraining']['keep'])}.safetensors")


def start(wildcards, output):
    return continued(wildcards)


def rate(wildcards, output):
    return rate_file(wildcards)


def rate_file(wildcards):
    """Where the learning rate of a pretraining is chosen, or None where its recipe has one."""
    several = isinstance(recipe(config, wildcards.encoder, wildcards.scheme)["learning_rate"], list)
    path = f"<run>/learning_rates/{wildcards.encoder}/{wildcards.scheme}.json"
    return workflow.pathvars.apply(path) if several else None


def rate_needed(wildcards):
    return {"rate": rate_file(wildcards)} if rate_file(wildcards) else {}


def trial_cards(wildcards):
    """The fine-tunings of every learning rate that is tried, in the order of the rates."""
    trials = trials_of(config, wildcards.encoder, wildcards.scheme)
    return [f"<run>/finetune/{job.path}/card.json" for jobs in trials.values() for job in jobs]


def trial_rates(wildcards):
    """The learning rate of each of `trial_cards`."""
    trials = trials_of(config, wildcards.encoder, wildcards.scheme)
    return [rate for rate, jobs in trials.items() for _ in jobs]


def also_needed(wildcards):
    """What a pretraining needs beside images: the checkpoint that it continues from, and its learning rate."""
    return rate_needed(wildcards) | ({"start": continued(wildcards)} if continued(wildcards) else {})


def pool_pairs():
    """Every target and the networks of the run that were trained to segment other data: pairs of target and encoder/scheme/seed."""
    segmenters = {
        name: scheme["source"] or config["pretraining"]["source"]
        for name, scheme in config["schemes"].items()
        if name in GRID["schemes"] and scheme["task"] == "segmentation"
    }
    return [
        (target, f"{encoder}/{scheme}/seed{seed}")
        for target in GRID["targets"]
        for encoder in GRID["encoders"]
        if not brings_weights(config, encoder)
        for scheme, source in segmenters.items()
        for seed in GRID["pretrain_seeds"]
        if source != target
    ]


def pool_decoders():
    """The scores of decoders of all members of the pool, by target and network."""
    files = {f"{target}/{model}": f"<run>/pool/{target}/{model}.csv" for target, model in pool_pairs()}
    return files | {
        f"{target}/{name}/{GIVEN_RUN}": f"<run>/pool/{target}/given/{name}.csv"
        for target in GRID["targets"]
        for name in given_to_finetune(config)
    }


def pool_encoder_scores():
    return [f"<run>/scores/{target}/{model}.csv" for target, model in pool_pairs()]


def scratch_folder(wildcards, output):
    return config["pretraining"]["scratch"]


def checkpoint_folder(wildcards):
    return workflow.pathvars.apply(TRAINED).format(**dict(wildcards.items()))


def pretraining_source(wildcards):
    """The images, until the checkpoints exist. Not `ancient`, which hides all jobs behind an input that is remade."""
    folder = checkpoint_folder(wildcards)
    needed = images_until([f"{folder}/epoch{epoch}.json" for epoch in config["pretraining"]["keep"]], wildcards)
    return needed and needed | also_needed(wildcards)


def random_source(wildcards):
    """The same for random weights; those of an encoder that is not trained here need no images."""
    folder = workflow.pathvars.apply(f"<pretrain>/{wildcards.encoder}/random")
    cards = [f"{folder}/seed{seed}/epoch0.json" for seed in GRID["finetune_seeds"]]
    return images_until(cards, wildcards) if is_trained_here(config, wildcards.encoder) else {}


def images_until(cards, wildcards):
    return {} if all(os.path.exists(card) for card in cards) else source_of(wildcards)


def pretraining_settings(wildcards):
    """What the cards of a pretraining's checkpoints must say."""
    values = recipe(config, wildcards.encoder, wildcards.scheme)
    settings = {"recipe": values, "encoder": encoder_settings(wildcards), "precision": config["precision"]}
    before = continued(wildcards)
    if before and os.path.exists(before):
        settings["start"] = cached_sha256(before)
    return settings | {"inputs": network_inputs(wildcards), "image_size": config["image_size"]}


def pretraining_recipe(wildcards):
    """The recipe; an error where finished checkpoints were made otherwise, so that they are never lost unasked."""
    settings = pretraining_settings(wildcards)
    check_unchanged(checkpoint_folder(wildcards), settings, source_of(wildcards)["index"])
    if rate_file(wildcards):
        check_rate(checkpoint_folder(wildcards), GRID["development"], GRID["targets"])
    return settings["recipe"]


def released_files(wildcards, output):
    return workflow.pathvars.apply("<data>/released/files.json")


def released_weights(wildcards):
    """The study's files, until the checkpoint exists, so that moving or fetching them again repeats nothing."""
    card = f"<pretrain>/{wildcards.encoder}/{wildcards.scheme}/seed0/epoch{wildcards.epochs}.json"
    return [] if os.path.exists(workflow.pathvars.apply(card)) else "<data>/released/files.json"


def given_weights(wildcards):
    return config["encoders"][wildcards.encoder]["weights"]


def adopted_settings(wildcards):
    part = config["encoders"][wildcards.encoder].get("part")
    return encoder_settings(wildcards) | ({} if part is None else {"part": part})


def given_sha256(wildcards):
    source, architecture = given_weights(wildcards), config["encoders"][wildcards.encoder]["architecture"]
    if source == "timm":
        _, _, folder = architecture.partition(LOCAL_DIR)
        return cached_sha256(str(weights_in(folder))) if folder else None
    return cached_sha256(source)


def stopped_folder(wildcards):
    return workflow.pathvars.apply(STOPPED).format(**dict(wildcards.items()))


def data_folder(wildcards, output):
    return workflow.pathvars.apply(f"<data>/{wildcards.target}/{VARIANT}")


def stopping_inputs(wildcards):
    """Source and target, until there is a decision."""
    if os.path.exists(f"{stopped_folder(wildcards)}/decision.json"):
        return {}
    names = ("card.json", "items.csv", "images.npy", "masks.npy")
    return (
        source_of(wildcards)
        | also_needed(wildcards)
        | {"data": [f"<data>/{wildcards.target}/{VARIANT}/{name}" for name in names]}
    )


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
    check_unchanged(stopped_folder(wildcards), settings, source_of(wildcards)["index"], cards="kept.json")
    return settings["recipe"]
