"""What protects finished results: jobs whose results exist are not done again under other settings."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from workflow.lib.job.run import UserError, read_json, sha256_of


def check_unchanged(
    folder: str | Path, settings: dict[str, Any], index: str | Path, *, cards: str = "epoch*.json"
) -> None:
    """Refuse checkpoints that were made with other settings, or from other images, than the config now says.

    folder: <pretrain>/{encoder}/{scheme}/seed{n}; cards: pattern of their names, the first is read; settings: what it must
    say (recipe, encoder, precision);
    index: list of the source's images, whose SHA-256 the cards hold. Raises `UserError` naming the first difference.
    Nothing is checked where no card exists, nor the images where there is no list of them.
    """
    found = sorted(Path(folder).glob(cards))
    if not found:
        return
    card = read_json(found[0])
    if Path(index).exists():
        settings = settings | {"index": cached_sha256(str(index))}
    for section, values in settings.items():
        old, new = card.get(section), values
        if isinstance(values, dict) and isinstance(old, dict):
            changed = [key for key in values.keys() | old.keys() if values.get(key) != old.get(key)]
            old, new = {key: old.get(key) for key in changed}, {key: values.get(key) for key in changed}
        if old != new:
            raise UserError(
                "a finished pretraining has other settings than the config",
                found=f"{section} {old} in its cards",
                expected=f"{section} {new}, as the config says",
                where=folder,
                next=f"give the encoder or scheme another name; or rm -r {folder} to train again; or restore the config",
            )


cached_sha256 = cache(sha256_of)  # for lists and weights of tens of MB and more, which several jobs ask about


def check_same_run(folder: str | Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with a run whose finished fine-tunings have other settings than the config, which would replace them.

    folder: <run>/finetune; settings: what its cards must say. The first card found is read. Raises `UserError`.
    """
    path = next(Path(folder).glob("**/epoch*-seeds*/card.json"), None)
    card = read_json(path)["runs"][0] if path else {}
    changed = [key for key, value in settings.items() if key in card and card[key] != value]
    if changed:
        raise UserError(
            "a run has finished fine-tunings with other settings than the config",
            found="; ".join(f"{key} {card.get(key)}" for key in changed),
            expected="; ".join(f"{key} {settings[key]}, as the config says" for key in changed),
            where=path,
            next=f"give this run another name (`run` in the config); or rm -r {folder} to repeat it; or restore the config",
        )


def check_rate(folder: str | Path, development: Sequence[str], targets: Sequence[str]) -> None:
    """Refuse checkpoints whose learning rate was chosen on other targets than the config's, above all on one that it judges.

    folder: <pretrain>/{encoder}/{scheme}/seed{n}. Raises `UserError`.
    """
    path = next(Path(folder).glob("epoch*.json"), None)
    rate = read_json(path).get("rate") if path else None
    judged = set(next(iter(rate["dice"].values()))) if rate else set(development)
    if judged != set(development) or judged & set(targets):
        raise UserError(
            "the learning rate of a finished pretraining was chosen on other targets",
            found=f"{', '.join(sorted(judged))} in its cards",
            expected=f"study.development: {', '.join(development)}, none of them among study.targets",
            where=folder,
            next=f"give the scheme another name; or rm -r {folder} to choose and train again; or restore the config",
        )


def check_held_out(checkpoint: Mapping[str, Any], tested: Mapping[str, str], weights: str | Path) -> None:
    """Refuse a checkpoint that may have seen test images: where a target's images outside its test split were a source, its card
    (`checkpoint`) holds a hash of that split, as `hash_of_tested` gives it.

    tested: {target: the same of now}; weights: the checkpoint's file. Raises `UserError` for a target of another split.
    """
    then = checkpoint.get("held_out", {})
    if target := next((target for target in tested if then.get(target, tested[target]) != tested[target]), None):
        raise UserError(
            f"the test split of target {target} has changed since this checkpoint was pretrained on the target's other images",
            found="test cases that may be among them (leakage)",
            expected="the test split of that time",
            where=weights,
            next="restore the split (data.split_seed, fractions, groups, files); "
            f"or rm -r {Path(weights).parent} to pretrain again",
        )


def check_not_computed(folder: str | Path) -> None:
    """Refuse to put deposited tables over those of a run that was computed here. Raises `UserError`."""
    if (Path(folder) / "finetune").exists():
        raise UserError(
            "deposited tables would replace those of a run that was computed here",
            found=Path(folder) / "finetune",
            expected="a run name that is not in use",
            where="config: deposited",
            next="give the deposited run another name",
        )
