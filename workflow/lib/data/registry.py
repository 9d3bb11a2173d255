"""The registry of public data sets: workflow/registry/datasets.tsv, checked against its JSON Schema when read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import yaml
from jsonschema import Draft202012Validator

from workflow.lib.job.run import UserError

CLASSES = 12  # of a generated source
# By layout, what is generated where nothing else is said: images per class, patients or images; for training and for the test.
GENERATED = {"imagenet": (100, 20), "acdc": (10, 6), "idrid": (12, 6), "covid_qu": (40, 20)}
SCHEMA = Path(__file__).parents[2] / "schemas" / "datasets.schema.yaml"


@dataclass(frozen=True)
class Archive:
    """One file of a data set: its name in the downloads folder, its address ("" = by hand) and its checksum."""

    file: str
    url: str
    checksum: str  # md5:<hex>, sha256:<hex> or unknown


@dataclass(frozen=True)
class Dataset:
    """A row of the registry; `counts` maps for example train_cases to 54."""

    name: str
    access: str
    page: str
    archives: list[Archive]
    counts: dict[str, int]
    licence: str


def read_registry(path: str | Path) -> dict[str, Dataset]:
    """The data sets by name. Raises `UserError` naming row, column and rule where the table breaks its schema."""
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    validator = Draft202012Validator(yaml.safe_load(SCHEMA.read_text()))
    datasets = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        for error in validator.iter_errors(row):
            column = ".".join(map(str, error.path)) or "columns"
            raise _wrong_row(path, line, column, error.message, error.schema.get("description", "see the schema"))
        lists = [row[column].split("; ") for column in ("files", "urls", "checksums")]
        if len({len(values) for values in lists}) != 1:
            found = ", ".join(str(len(values)) for values in lists)
            raise _wrong_row(path, line, "files, urls, checksums", f"{found} values", "equally many values in each")
        archives = [Archive(file, url.strip("-"), checksum) for file, url, checksum in zip(*lists, strict=True)]
        counts = {key: int(number) for key, number in (count.split("=") for count in row["counts"].split("; "))}
        datasets[row["name"]] = Dataset(row["name"], row["access"], row["page"], archives, counts, row["licence"])
    return datasets


def _wrong_row(path: str | Path, line: int, column: str, found: str, expected: str) -> UserError:
    return UserError(
        "the registry of data sets breaks its schema",
        found=found,
        expected=expected,
        where=f"{path}, line {line}, {column}",
        next=f"correct the line (allowed values: {SCHEMA})",
    )


def token_for(url: str, environment: Mapping[str, str]) -> str | None:
    """user:key for a download from `url`, from the environment; "" where none is needed, None where it is absent."""
    if not (urlsplit(url).hostname or "").endswith("kaggle.com"):
        return ""
    user, key = environment.get("KAGGLE_USERNAME"), environment.get("KAGGLE_KEY")
    return f"{user}:{key}" if user and key else None
