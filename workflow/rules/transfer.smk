"""
This part of the workflow compares tasks of pretraining, what is transferred, and numbers of training patients.

REQUIRED INPUTS:

    <run>/finetune/{target}/{way}/{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/card.json, history.csv
    <pretrain>/{encoder}/{scheme}/seed{pretrain_seed}/epoch{epochs}.json
    of runs that were done elsewhere: transfer_scores.csv in their folder

OUTPUTS:

    <run>/transfer_scores.csv                             all that follows knows only this table
    <results>/{run}/tables/transfer_effects.csv, .tex     gains over random weights, over the encoder alone, over classification
    <results>/{run}/tables/learning_curves.csv, .tex      Dice against training patients; how many a pretraining is worth
    <results>/{run}/tables/transfer_claims.csv, .tex      what the run says about the claims of Dippel et al.
    <run>/learning_rates/{encoder}/{scheme}.json          of schemes with several learning rates: which one is best elsewhere
"""


rule choose_learning_rate:
    """Choose the learning rate of a scheme by Dice on the development targets, which judge nothing else."""
    input:
        cards=trial_cards,
        code=code("transfer/choose_learning_rate.py"),
    output:
        chosen="<run>/learning_rates/{encoder}/{scheme}.json",
    log:
        "<logs>/transfer/choose_learning_rate-{encoder}-{scheme}.log",
    benchmark:
        "<benchmarks>/transfer/choose_learning_rate-{encoder}-{scheme}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        rates=trial_rates,
    script:
        "../scripts/transfer/choose_learning_rate.py"


if config["run"] not in config["deposited"]:

    rule gather_transfer:
        """Write a row for every fine-tuning: task, source, transfer, patients, Dice, and validation Dice after each epoch."""
        input:
            cards=finetune_files(),
            checkpoints=[f"<pretrain>/{checkpoint.path}.json" for checkpoint in all_checkpoints(config)],
            code=code("transfer/gather_transfer.py"),
        output:
            table="<run>/transfer_scores.csv",
        log:
            f"<logs>/transfer/gather_transfer-{config['run']}.log",
        benchmark:
            f"<benchmarks>/transfer/gather_transfer-{config['run']}.tsv"
        localrule: True
        conda:
            "../../envs/paper.yaml"
        params:
            names=["/".join(map(str, checkpoint)) for checkpoint in all_checkpoints(config)],
            networks={
                **{name: config["encoders"][name]["network"] for name in GRID["encoders"]},
                **{name: name for name in given_to_finetune(config)},
            },
            tasks={
                **{
                    name: (scheme["task"], named_source(scheme["source"] or config["pretraining"]["source"]))
                    for name, scheme in config["schemes"].items()
                },
                GIVEN: ("given", ""),
            },
            seeds=GRID["finetune_seeds"],
            study=GRID,  # so that a smaller grid makes the table again
        script:
            "../scripts/transfer/gather_transfer.py"


rule compare_transfers:
    """Estimate what every task and transfer gains, with intervals over pretraining runs, seeds and draws of patients."""
    input:
        table=of_run("transfer_scores.csv"),
        code=code("transfer/compare_transfers.py"),
    output:
        table=report(
            "<results>/{run}/tables/transfer_effects.csv",
            caption="../report/transfer_effects.rst",
            category="Tables",
            labels={"table": "tasks and transfers", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/transfer_effects.tex",
    log:
        "<logs>/transfer/compare_transfers-{run}.log",
    benchmark:
        "<benchmarks>/transfer/compare_transfers-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/transfer/compare_transfers.py"


rule compare_patients:
    """Fit Dice against training patients, and say how many patients a pretraining is worth."""
    input:
        table=of_run("transfer_scores.csv"),
        code=code("transfer/compare_patients.py"),
    output:
        table="<results>/{run}/tables/learning_curves.csv",
        tex="<results>/{run}/tables/learning_curves.tex",
    log:
        "<logs>/transfer/compare_patients-{run}.log",
    benchmark:
        "<benchmarks>/transfer/compare_patients-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/transfer/compare_patients.py"


rule judge_transfer:
    """Say which claims on tasks, decoders and few patients the run supports."""
    input:
        table=of_run("transfer_scores.csv"),
        registry=CLAIMS.replace("claims.tsv", "claims_transfer.tsv"),
        code=code("transfer/judge_transfer.py"),
    output:
        table=report(
            "<results>/{run}/tables/transfer_claims.csv",
            caption="../report/transfer_claims.rst",
            category="Claims",
            labels={"table": "tasks and transfers", "run": "{run}"},
        ),
        tex="<results>/{run}/tables/transfer_claims.tex",
    log:
        "<logs>/transfer/judge_transfer-{run}.log",
    benchmark:
        "<benchmarks>/transfer/judge_transfer-{run}.tsv"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    script:
        "../scripts/transfer/judge_transfer.py"
