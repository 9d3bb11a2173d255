"""
This part of the workflow says what the rules of pretraining ask for.

REQUIRED INPUTS: the names of common.smk

OUTPUTS: none; functions that pretrain.smk, pretrain_released.smk and pretrain_until.smk use
"""


def source_card(wildcards, output):
    return source_file("source.json")


def source_index(wildcards, output):
    return source_file("index.csv.gz") if is_trained_here(config, wildcards.encoder) else None


def scratch_folder(wildcards, output):
    return config["pretraining"]["scratch"]


def checkpoint_folder(wildcards):
    return workflow.pathvars.apply(TRAINED).format(**dict(wildcards.items()))


def pretraining_source(wildcards):
    """The images, until the checkpoints exist. Not `ancient`, which hides all jobs behind an input that is remade."""
    folder = checkpoint_folder(wildcards)
    return images_until([f"{folder}/epoch{epoch}.json" for epoch in config["pretraining"]["keep"]])


def random_source(wildcards):
    """The same for random weights; those of an encoder that is not trained here need no images."""
    folder = workflow.pathvars.apply(f"<pretrain>/{wildcards.encoder}/random")
    cards = [f"{folder}/seed{seed}/epoch0.json" for seed in GRID["finetune_seeds"]]
    return images_until(cards) if is_trained_here(config, wildcards.encoder) else {}


def images_until(cards):
    finished = all(os.path.exists(card) for card in cards)
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
    source = given_weights(wildcards)
    return None if source == "timm" else cached_sha256(source)


def stopped_folder(wildcards):
    return workflow.pathvars.apply(STOPPED).format(**dict(wildcards.items()))


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
