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

# The same of `snakemake transfer`.
TRANSFER_FIGURES = {
    "transfer_gain": ("what a task and a transfer gain", ["tables/transfer_effects.csv"]),
    "dice_vs_patients": ("Dice against training patients", ["tables/learning_curves.csv"]),
    "convergence": ("validation Dice while fine-tuning", ["transfer_scores.csv"]),
}
POOL_FIGURES = {
    "pool_matrix": ("which source helps which target", ["tables/pool_members.csv"]),
    "pool_regret": ("what choices in a pool lose", ["tables/pool.csv"]),
}
TRANSFER_TABLES = ["transfer_effects", "learning_curves", "transfer_claims"]

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
        *collect("<data>/{target}/{variant}/card.json", target=PREPARED, variant=VARIANT),
        *(f"{source_place(source)}/index.csv.gz" for source in sources()),
        *(["<data>/released/files.json"] if released_runs(config) else []),
    ]


def checkpoint_files():
    return [f"<pretrain>/{checkpoint.path}.safetensors" for checkpoint in all_checkpoints(config)]


def tuning_files():
    """All by which learning rates are chosen, of schemes with several."""
    cells = [
        (encoder, scheme)
        for encoder in GRID["encoders"]
        if not brings_weights(config, encoder)
        for scheme in tuned_schemes(config)
    ]
    jobs = [job for cell in cells for tried in trials_of(config, *cell).values() for job in tried]
    return [
        *(f"<pretrain>/{job.encoder}/{job.pretraining}/epoch{job.epochs}.safetensors" for job in jobs),
        *(f"<run>/finetune/{job.path}/card.json" for job in jobs),
        *(f"<run>/learning_rates/{encoder}/{scheme}.json" for encoder, scheme in cells),
    ]


def stopped_files(wildcards):
    """For every target and every pretraining of the grid: the decision, and the cool-down if one is asked for."""
    for target in GRID["targets"]:
        check_unseen(config, target)
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


def finetune_files(*, everything=True, target=None):
    """The cards of all fine-tunings, or of those that the tables of a run hold: from the encoder, on all training patients; of
    every target, or of one."""
    jobs = all_finetunings(config, workflow.pathvars.apply("<run>/finetune"))
    wanted = [job for job in jobs if everything or Way.of(job.way)[1:] == Way(True)[1:]]
    wanted = [job for job in wanted if target in (None, job.target)]
    return [f"<run>/finetune/{job.path}/card.json" for job in wanted]


def rank_files(names):
    """Files of every target's ranking."""
    return collect("<run>/rank/{target}/{name}", target=GRID["targets"], name=names)


def rankings(wildcards):
    """What is reported for every target; an error where a candidate was pretrained on it, or a ranking is to be
    confirmed on one without masks."""
    for target in GRID["targets"]:
        check_unseen(config, target)
    names = ["ranking.csv", "answer.txt", "finetune.yaml", "encoder"]
    if config["rank"]["confirm"]:
        names.append("confirm.txt")
        for target in GRID["targets"]:
            check_labelled(config, target)
    return [*rank_files(names), "<run>/rank.html"]


def run_stats(run):
    table = "<results>/{run}/tables/{name}.csv"
    return [
        *collect(table, run=run, name=TABLES),
        f"<results>/{run}/tables/data_quality.txt",
        f"<results>/{run}/answer.json",
    ]


def figure_files(run, names):
    return collect("<results>/{run}/figures/{name}.{kind}", run=run, name=names, kind=["pdf", "png", "csv"])


def run_figures(run):
    return figure_files(run, FIGURES)


def run_tables(run):
    return collect("<results>/{run}/tables/{name}.{kind}", run=run, name=TABLES, kind=["tex", "csv"])


def paper_files(wildcards):
    """All figures and tables in one document, as LaTeX and, where that is installed, as PDF."""
    run, latex = config["run"], shutil.which("pdflatex")
    if not latex:
        logger.warning(
            "paper.pdf is skipped, as pdflatex is not installed (apt-get install texlive-latex-recommended texlive-latex-extra "
            f"texlive-fonts-recommended lmodern). paper.tex is written: pdflatex in results/{run} makes the PDF anywhere."
        )
    return [f"<results>/{run}/paper.{kind}" for kind in (["tex", "pdf"] if latex else ["tex"])]


def one_product(run, name):
    if name in [*FIGURES, *TRANSFER_FIGURES, *POOL_FIGURES]:
        return figure_files(run, [name])
    return collect("<results>/{run}/tables/{name}.{kind}", run=run, name=name, kind=["tex", "csv"])


def transfer_products(run):
    """What `snakemake transfer` makes."""
    return [*transfer_files(run), f"<results>/{run}/transfer.html"]


def transfer_files(run):
    """Tables and figures of tasks, of what is transferred, and of few patients."""
    return [
        *figure_files(run, TRANSFER_FIGURES),
        *collect("<results>/{run}/tables/{name}.{kind}", run=run, name=TRANSFER_TABLES, kind=["csv", "tex"]),
    ]


def pool_products(wildcards):
    """What `snakemake pool` makes; an error where there is no network to choose."""
    given = collect("<run>/pool/{target}/given/{model}.csv", target=GRID["targets"], model=GIVEN_NETWORKS)
    if not pool_decoders():
        if given:
            return given
        raise UserError(
            "a pool without networks",
            found=f"schemes {GRID['schemes']}, no pool.given",
            expected="schemes of task segmentation whose source is not the only target, or networks under pool.given",
            where="config: study.schemes, pool.given",
            next="see configs/realdata_pool.yaml for an example",
        )
    if pool_pairs() and "both" not in GRID["transfer"]:
        raise UserError(
            "the networks of a pool are not fine-tuned",
            found=f"study.transfer {GRID['transfer']}",
            expected="both among them: encoder and decoder",
            where="config: study.transfer",
            next="add both",
        )
    return [*given, *pool_files(), "<run>/pool.html"]


def pool_files():
    """Tables and figures of a pool."""
    return [
        *figure_files(config["run"], POOL_FIGURES),
        *collect("<run>/tables/{name}.csv", name=["pool", "pool_members"]),
    ]


def gallery(*sheets):
    """Contact sheets of every target: images, segmentations."""
    sheet = "<run>/gallery/{target}-{sheet}.{kind}"
    return collect(sheet, target=GRID["targets"], sheet=sheets, kind=["pdf", "png", "csv"])


def run_gallery(run):
    """The contact sheets of a run; none where it begins with deposited tables, as there are no images."""
    return gallery("images", "segmentations") if run == config["run"] and run not in DEPOSITED else []


def run_files(run):
    """What the page of a run shows and links to."""
    names = ["downstream_scores.csv", "robustness_scores.csv"]
    if run not in DEPOSITED:
        names += ["transferability_scores.csv", "patient_scores.csv.gz"]
    tables = collect("<results>/{run}/{name}", run=run, name=names)
    return [
        *tables,
        *run_figures(run),
        *run_tables(run),
        *run_stats(run),
        *run_gallery(run),
        f"<results>/{run}/answer.txt",
    ]


def run_products(run):
    return [*run_files(run), f"<results>/{run}/index.html"]


def data_sets_for(target):
    """The data sets behind `all`, `rank` or `stopped`; none where the run begins with deposited tables."""
    if target == "all" and config["run"] in config["deposited"]:
        return []
    return list(dict.fromkeys([*sources(), *PREPARED]))


def files_for(target):
    """All that is made for `all`, `rank`, `stopped`, `transfer` or `pool`, on the way to it too. What `rank` will confirm is known once it has
    ranked; until then, as many others are counted instead."""
    needed = [*collect("<data>/{dataset}/source.json", dataset=data_sets_for(target))]
    if needed:
        needed += collect("<data>/{target}/images.csv", target=PREPARED)
        needed += collect("<data>/{target}/{variant}/split.csv", target=PREPARED, variant=VARIANT)
        needed += [*prepared_data(), *tuning_files()]
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
        return [*needed, *gallery("images"), *rankings(None)]
    if needed:
        for name in GRID["targets"]:
            check_labelled(config, name)
        needed += [*checkpoint_files(), *finetune_files()]
    if target in ("transfer", "pool"):
        needed += ["<run>/transfer_scores.csv"]
        if target == "transfer":
            return [*needed, *transfer_products(config["run"])]
        return [*needed, *pool_encoder_scores(), *pool_decoders().values(), *pool_products(None)]
    if needed:
        needed += score_files()
    return [*needed, "<run>/downstream_scores.csv", *run_products(config["run"])]
