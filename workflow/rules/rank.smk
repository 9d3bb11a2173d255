"""
This part of the workflow ranks the checkpoints of the config on every target, from their scores alone.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy, truth.npz
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json
    <run>/scores/{target}/{encoder}/{pretraining}.csv, .json

OUTPUTS:

    <run>/rank/{target}/ranking.csv, ranking.json, ranking.png, ranking.pdf, answer.txt
    <run>/rank/{target}/finetune.yaml           a config that fine-tunes the choice
    <run>/rank/{target}/encoder/                its weights for this and other software, and a note on their use
    <run>/rank/{target}/confirm.csv, confirm.txt    where rank.confirm > 0: did it hold after fine-tuning?
"""


checkpoint rank_target:
    """Rank the candidates on one target, and say which to take and how sure that is."""
    input:
        scores=candidate_files("<run>/scores/{target}/{encoder}/{pretraining}.csv"),
        by_group=candidate_files("<run>/scores/{target}/{encoder}/{pretraining}.json"),
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        code=code("rank/rank_target.py"),
    output:
        table="<run>/rank/{target}/ranking.csv",
        facts="<run>/rank/{target}/ranking.json",
        pdf="<run>/rank/{target}/ranking.pdf",
        png=report(
            "<run>/rank/{target}/ranking.png",
            caption="../report/rank.rst",
            category="Ranking",
            labels={"target": "{target}", "figure": "candidates"},
        ),
        text=report(
            "<run>/rank/{target}/answer.txt",
            caption="../report/rank.rst",
            category="Ranking",
            labels={"target": "{target}", "figure": "answer"},
        ),
        snippet="<run>/rank/{target}/finetune.yaml",
    log:
        "<logs>/rank/rank_target-{target}.log",
    benchmark:
        "<benchmarks>/rank/rank_target-{target}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        run=config["run"],
        candidates=lambda wildcards: [list(checkpoint) for checkpoint in rank_candidates(config)],  # others: ranked again
        by=config["rank"]["by"],
        default=config["rank"]["default"],
        shortest=min(length for length in GRID["lengths"] if length),
        warnings=warnings_of(config["run"]),
    script:
        "../scripts/rank/rank_target.py"


rule export_choice:
    """Write the weights of the ranking's choice under the names of other software."""
    input:
        facts="<run>/rank/{target}/ranking.json",
        weights=ancient(candidate_files("<pretrain>/{path}.safetensors")),
        code=code("rank/export_choice.py"),
    output:
        folder=directory("<run>/rank/{target}/encoder"),
    log:
        "<logs>/rank/export_choice-{target}.log",
    benchmark:
        "<benchmarks>/rank/export_choice-{target}.tsv"
    localrule: True
    conda:
        "../../envs/ml.yaml"
    params:
        encoders={name: settings_of(name) for name in GRID["encoders"]},
        inputs={name: inputs_of(config, name) for name in GRID["encoders"]},
        image_size=config["image_size"],
        aspect=PROTOCOL["aspect"],
    script:
        "../scripts/rank/export_choice.py"


rule make_fold:
    """Split a target's training patients for one fold of a cross-validation."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(f"<data>/{{target}}/{VARIANT}/masks.npy"),
        truth=ancient(f"<data>/{{target}}/{VARIANT}/truth.npz"),
    output:
        data="<run>/rank/{target}/confirm/fold{fold}/data/card.json",
        table="<run>/rank/{target}/confirm/fold{fold}/data/items.csv",
        images="<run>/rank/{target}/confirm/fold{fold}/data/images.npy",
        masks="<run>/rank/{target}/confirm/fold{fold}/data/masks.npy",
        truth="<run>/rank/{target}/confirm/fold{fold}/data/truth.npz",
    log:
        "<logs>/rank/make_fold-{target}-{fold}.log",
    benchmark:
        "<benchmarks>/rank/make_fold-{target}-{fold}.tsv"
    wildcard_constraints:
        fold=r"\d+",
    localrule: True
    conda:
        "../../envs/ml.yaml"
    params:
        folds=config["rank"]["folds"],
        split_seed=config["data"]["split_seed"],
    script:
        "../scripts/rank/make_fold.py"


use rule finetune_network as finetune_fold with:
    input:
        data="<run>/rank/{target}/confirm/fold{fold}/data/card.json",
        table="<run>/rank/{target}/confirm/fold{fold}/data/items.csv",
        images=ancient("<run>/rank/{target}/confirm/fold{fold}/data/images.npy"),
        masks=ancient("<run>/rank/{target}/confirm/fold{fold}/data/masks.npy"),
        truth=ancient("<run>/rank/{target}/confirm/fold{fold}/data/truth.npz"),
        weights=ancient(starting_weights(".safetensors")),
        cards=starting_weights(".json"),
    output:
        cases=f"<run>/rank/{{target}}/confirm/fold{{fold}}/{FINETUNED}/cases.csv",
        history=f"<run>/rank/{{target}}/confirm/fold{{fold}}/{FINETUNED}/history.csv",
        card=f"<run>/rank/{{target}}/confirm/fold{{fold}}/{FINETUNED}/card.json",
    log:
        f"<logs>/rank/{{target}}/fold{{fold}}/{FINETUNED}.log",
    benchmark:
        f"<benchmarks>/rank/{{target}}/fold{{fold}}/{FINETUNED}.tsv"
    wildcard_constraints:
        fold=r"\d+",
    params:
        encoder=starting_settings,
        recipe=config["finetune"],
        image_size=config["image_size"],
        # Reason: an epoch that is chosen on the fold that judges it would flatter every candidate.
        protocol=lambda wildcards: {**finetuning_protocol(), "validation": "held_out"},
        inputs=network_inputs,
        precision=config["precision"],


rule confirm_ranking:
    """Compare the fine-tuned candidates, and say whether the ranking held."""
    input:
        facts="<run>/rank/{target}/ranking.json",
        cases=cases_to_confirm,
        patients=f"<data>/{{target}}/{VARIANT}/items.csv",
        code=code("rank/confirm_ranking.py"),
    output:
        table="<run>/rank/{target}/confirm.csv",
        text="<run>/rank/{target}/confirm.txt",
    log:
        "<logs>/rank/confirm_ranking-{target}.log",
    benchmark:
        "<benchmarks>/rank/confirm_ranking-{target}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        made_of=[config["rank"], GRID["freeze"], GRID["finetune_seeds"]],  # so that it is said again of others
    script:
        "../scripts/rank/confirm_ranking.py"
