"""Small generated data sets in the official layouts, made once, and a shortcut through the stage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.data.generate import generate
from workflow.lib.data.layouts import Classes
from workflow.lib.data.prepare import prepare_target
from workflow.lib.data.prepared import Prepared, load_prepared
from workflow.lib.data.split import split_target
from workflow.lib.data.verify import verify_target
from workflow.lib.study.protocol import PROTOCOLS

REGISTRY = Path("workflow/registry/datasets.tsv")
SIZE = 32


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per layout, for inputs of 32 pixels; read-only by agreement."""
    root = tmp_path_factory.mktemp("generated")
    numbers = {"imagenet": (3, 2), "acdc": (4, 2), "idrid": (6, 2), "covid_qu": (10, 4)}
    for layout, (train, test) in numbers.items():
        (root / layout).mkdir()
        generate(layout, root / layout, image_size=SIZE, train=train, test=test)
    return root


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Path]:
    """Write a source.json for a folder and return its path."""

    def make(folder: Path, layout: str, dataset: str = "own", origin: str = "folder") -> Path:
        path = tmp_path / "data" / dataset / "source.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        card = {"dataset": dataset, "origin": origin, "layout": layout, "folder": str(folder), "files": []}
        path.write_text(json.dumps(card))
        return path

    return make


@pytest.fixture
def run_stage() -> Callable[..., Prepared]:
    """Verify, split, prepare and load a target."""

    def run(
        source: Path,
        protocol: str,
        *,
        classes: Classes = None,
        group: dict[str, Any] | None = None,
        train_cases: int | None = None,
        **options: Any,
    ) -> Prepared:
        place, folder = source.parent, source.parent / f"{protocol}-{SIZE}"
        cases, split = place / "images.csv", folder / "split.csv"
        verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=classes, group=group)
        split_target(
            cases=cases,
            split=split,
            target="own",
            validation=PROTOCOLS[protocol]["validation"],
            split_seed=0,
            test_fraction=0.3,
            validation_fraction=0.25,
            train_cases=train_cases,
        )
        prepare_target(
            source=source,
            cases=cases,
            split=split,
            images=folder / "images.npy",
            masks=folder / "masks.npy",
            truth=folder / "truth.npz",
            items=folder / "items.csv",
            card=folder / "card.json",
            target="own",
            protocol=PROTOCOLS[protocol],
            image_size=SIZE,
            classes=classes,
            group=group,
            **options,
        )
        return load_prepared(folder)

    return run
