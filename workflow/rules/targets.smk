"""
This part of the workflow names the files that are made for each target of the Snakefile, and for `plan` and `status`.

REQUIRED INPUTS: the names of common.smk and inputs.smk

OUTPUTS: none; names and functions that the other parts use
"""

# Each figure: what it is called in the report, and what it shows.
FIGURES = {
    "accuracy_vs_length": ("accuracy against length", ["tables/downstream.csv"]),
    "dice_vs_length": ("Dice against length", ["tables/downstream.csv", "tables/noise_ceiling.csv"]),
    "dice_vs_accuracy": ("Dice against accuracy", ["tables/downstream.csv", "tables/noise_ceiling.csv"]),
    "robustness_vs_length": ("robustness against length", ["robustness_scores.csv"]),
    "robustness_vs_dice": (
        "Dice against robustness",
        ["robustness_scores.csv", "tables/downstream.csv", "tables/noise_ceiling.csv"],
    ),
    "correlation_heatmap": ("correlation of all settings", ["tables/correlations.csv", "tables/noise_ceiling.csv"]),
    "selection_tradeoff": ("early stopping", ["tables/selection_summary.csv"]),
    "selection_all": ("choice among all checkpoints", ["tables/selection.csv"]),
    "setting_stability": ("stability of settings", ["tables/selection.csv"]),
    "claims_forest": ("claims", ["tables/claims.csv"]),
    "replay": ("stopping rules", ["tables/replay_summary.csv"]),
    "score_selection": ("scores as selectors", ["tables/score_selection_summary.csv"]),
}

TABLES = [
    "data_quality",
    "downstream",
    "length_effect",
    "noise_ceiling",
    "variance",
    "correlations",
    "selection",
    "selection_summary",
    "claims",
    "replay_summary",
    "score_selection_summary",
]


def prepared_data():
    return [
        *collect("<data>/{target}/{variant}/card.json", target=GRID["targets"], variant=VARIANT),
        *([source_file("index.csv.gz")] if trains_here() else []),
        *(["<data>/released/files.json"] if released_runs(config) else []),
    ]


def checkpoint_files():
    return [f"<pretrain>/{checkpoint.path}.safetensors" for checkpoint in all_checkpoints(config)]


def stopped_files(wildcards):
    """For every target and every pretraining of the grid: the decision, and the cool-down if one is asked for."""
    epochs = config["stopping"]["cool_down"]
    names = ["decision.json", *([f"cooled-{epochs}.safetensors"] if epochs else [])]
    trained = [checkpoint for checkpoint in all_checkpoints(config) if checkpoint.scheme in GRID["schemes"]]
    runs = dict.fromkeys(os.path.dirname(checkpoint.path) for checkpoint in trained if checkpoint.pretrain_seed > 0)
    if not runs:
        raise UserError(
            "no encoder of this config is pretrained here, so that nothing can be stopped",
            found=f"encoders {GRID['encoders']}",
            expected="one without weights of its own, and pretraining.weights: train",
            where="config: study.encoders",
            next="ask for `snakemake rank`, which compares finished checkpoints",
        )
    return [f"<run>/stopped/{target}/{run}/{name}" for target in GRID["targets"] for run in runs for name in names]


def score_files():
    return list(
        dict.fromkeys(
            f"<run>/scores/{target}/{checkpoint.encoder}/{checkpoint.pretraining}.csv"
            for target in GRID["targets"]
            for checkpoint in all_checkpoints(config)
        )
    )


def finetune_files():
    folder = workflow.pathvars.apply("<run>/finetune")
    return [f"<run>/finetune/{finetuning.path}/card.json" for finetuning in all_finetunings(config, folder)]


def rankings(wildcards):
    """What is reported for every target; an error where a ranking is to be confirmed on one without masks."""
    names = ["ranking.csv", "answer.txt", "finetune.yaml", "encoder"]
    if config["rank"]["confirm"]:
        names.append("confirm.txt")
        for target in GRID["targets"]:
            check_labelled(config, target)
    return collect("<run>/rank/{target}/{name}", target=GRID["targets"], name=names)


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


def data_sets_for(target):
    """The data sets behind `all`, `rank` or `stopped`; none where the run begins with deposited tables."""
    if target == "all" and config["run"] in config["deposited"]:
        return []
    return [*([config["pretraining"]["source"]] if trains_here() else []), *GRID["targets"]]


def files_for(target):
    """All that is made for `all`, `rank` or `stopped`, on the way to it too. What `rank` will confirm is known once it has
    ranked; until then, as many others are counted instead."""
    needed = [*collect("<data>/{dataset}/source.json", dataset=data_sets_for(target))]
    if needed:
        needed += collect("<data>/{target}/images.csv", target=GRID["targets"])
        needed += collect("<data>/{target}/{variant}/split.csv", target=GRID["targets"], variant=VARIANT)
        needed += prepared_data()
    if target == "stopped":
        return [*needed, *stopped_files(None)]
    if target == "rank":
        candidates = rank_candidates(config)
        needed += [f"<pretrain>/{candidate.path}.safetensors" for candidate in candidates]
        needed += [
            f"<run>/scores/{name}/{candidate.encoder}/{candidate.pretraining}.csv"
            for name in GRID["targets"]
            for candidate in candidates
        ]
        if config["rank"]["confirm"]:
            fold = "<run>/rank/{target}/confirm/fold{fold}/data/card.json"
            needed += collect(fold, target=GRID["targets"], fold=range(config["rank"]["folds"]))
            needed += [file for name in GRID["targets"] for file in confirmed_cases(name)]
        return [*needed, *rankings(None)]
    if needed:
        for name in GRID["targets"]:
            check_labelled(config, name)
        needed += [*checkpoint_files(), *score_files(), *finetune_files()]
    return [*needed, "<run>/downstream_scores.csv", *run_products(config["run"])]
