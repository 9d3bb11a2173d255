"""Weights on Hugging Face's hub, and in folders of timm's format: their terms, and why some are not available."""

import pickle
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from workflow.lib.job.run import UserError, reason
from workflow.lib.study.checkpoints import LOCAL_DIR


def terms_of(config: Any) -> str | None:
    """The licence of a model's weights, as timm's record (`config`) or the hub states it, and whether their repository is gated:
    then one has to accept its terms. None where nothing is stated; where the hub cannot be asked, what the record says."""
    licence: str | None = config.license
    if not config.hf_hub_id:
        return licence
    hub, _, revision = config.hf_hub_id.partition("@")
    try:
        info = HfApi().model_info(hub, revision=revision or None, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:  # the weights are here all the same
        return licence
    licence = licence or getattr(info.card_data, "license", None)
    return f"{licence or 'no licence stated'}, gated: its terms are at {page_of(hub)}" if info.gated else licence


def page_of(hub: str) -> str:
    """The page of a repository."""
    return f"{constants.ENDPOINT}/{hub.partition('@')[0]}"


def unavailable(name: str, hub: str | None, error: Exception) -> UserError:
    """The error about a timm encoder whose config.json or weights cannot be had; hub: the repository that should hold them. Of
    `error`, only the first line is shown, which holds no token."""
    expected, where = "a timm model of that name on its hub", page_of(hub) if hub else name
    download = "or download the model's file on a machine with internet, and give its path as `weights` of the encoder"
    if name.startswith(LOCAL_DIR):
        found, expected = reason(error), "a folder with timm's config.json, which names an `architecture`, and weights"
        where, download = name.removeprefix(LOCAL_DIR), "correct the folder, or let timm.models.save_for_hf write it"
    elif isinstance(error, GatedRepoError):
        found = "a gated repository, whose terms this account has not accepted, or no token"
        token = "export HF_TOKEN=<a token of yours that may read it, from the settings of your account>"
        download = f"sign in, accept the terms at {where}; then {token} and run again; {download}"
    elif isinstance(error, RepositoryNotFoundError | RevisionNotFoundError | HFValidationError):
        found = "no such repository or revision, or a private one"
        download = f"correct the name; for a private one, export HF_TOKEN=<a token of yours>; {download}"
    elif isinstance(error, KeyError | ValueError | TypeError):
        found = f"a config.json that is not of a timm model ({type(error).__name__}: {reason(error)})"
        download = "name a repository of the library timm; or, of others, a file of weights and timm's architecture"
    elif isinstance(error, pickle.UnpicklingError):
        found = "a file of weights that holds code beside tensors"
        download = "take a repository with .safetensors"
    else:
        found, download = reason(error) if hub else "no weights on its hub", download.removeprefix("or ")
    return UserError(
        f"timm's weights of {name} are not available", found=found, expected=expected, where=where, next=download
    )
