"""
This part of the workflow ranks the checkpoints of the config on every target, from their scores alone.

REQUIRED INPUTS:

    <data>/{target}/{variant}/card.json, items.csv, images.npy, masks.npy
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors, .json
    <run>/scores/{target}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.csv, .json

OUTPUTS:

    <run>/rank/{target}/ranking.csv, ranking.json, ranking.png, ranking.pdf, answer.txt
    <run>/rank/{target}/finetune.yaml           a config that fine-tunes the choice
    <run>/rank/{target}/encoder/                its weights for this and other programs, and a note on their use
    <run>/rank/{target}/confirm.csv, confirm.txt    where rank.confirm > 0: did it hold after fine-tuning?
"""


checkpoint rank_target:
    """Rank the candidates on one target, and say which to take and how sure that is."""
    input:
        scores=candidate_files("<run>/scores/{target}/{path}.csv"),
        by_group=candidate_files("<run>/scores/{target}/{path}.json"),
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
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    params:
        run=config["run"],
        candidates=lambda wildcards: [list(checkpoint) for checkpoint in rank_candidates(config)],  # others: ranked anew
        by=config["rank"]["by"],
        default=config["rank"]["default"],
        shortest=min(length for length in GRID["lengths"] if length),
    script:
        "../scripts/rank/rank_target.py"


rule export_choice:
    """Write the weights of the ranking's choice under the names of other programs."""
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
    threads: 1
    resources:
        mem="4GB",
        runtime=10,
    params:
        encoders={name: network_settings(config["encoders"][name]) for name in GRID["encoders"]},
        inputs={name: inputs_of(config, name) for name in GRID["encoders"]},
        image_size=config["image_size"],
    script:
        "../scripts/rank/export_choice.py"


rule make_fold:
    """Split a target's training patients anew, for one fold of a cross-validation."""
    input:
        data=f"<data>/{{target}}/{VARIANT}/card.json",
        table=f"<data>/{{target}}/{VARIANT}/items.csv",
        images=ancient(f"<data>/{{target}}/{VARIANT}/images.npy"),
        masks=ancient(f"<data>/{{target}}/{VARIANT}/masks.npy"),
    output:
        data="<run>/rank/{target}/confirm/fold{fold}/data/card.json",
        table="<run>/rank/{target}/confirm/fold{fold}/data/items.csv",
        images="<run>/rank/{target}/confirm/fold{fold}/data/images.npy",
        masks="<run>/rank/{target}/confirm/fold{fold}/data/masks.npy",
    log:
        "<logs>/rank/make_fold-{target}-{fold}.log",
    benchmark:
        "<benchmarks>/rank/make_fold-{target}-{fold}.tsv"
    wildcard_constraints:
        fold=r"\d+",
    localrule: True
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
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
        weights=ancient("<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.safetensors"),
        card="<pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.json",
    output:
        cases="<run>/rank/{target}/confirm/fold{fold}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/cases.csv",
        history="<run>/rank/{target}/confirm/fold{fold}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/history.csv",
        card="<run>/rank/{target}/confirm/fold{fold}/{freeze}/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}-seed{seed}/card.json",
    log:
        "<logs>/rank/{target}-{fold}-{freeze}-{encoder}-{scheme}-{pretrain_seed}-{epochs}-{seed}.log",
    benchmark:
        "<benchmarks>/rank/{target}-{fold}-{freeze}-{encoder}-{scheme}-{pretrain_seed}-{epochs}-{seed}.tsv"
    wildcard_constraints:
        fold=r"\d+",


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
    threads: 1
    resources:
        mem="2GB",
        runtime=10,
    params:
        folds=config["rank"]["folds"],
    script:
        "../scripts/rank/confirm_ranking.py"
