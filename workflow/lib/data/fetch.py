"""Where raw data come from: the user's folder, generated files or the registry. Each way writes a source.json."""

import base64
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow.lib.data.archive import unpack
from workflow.lib.data.download import download
from workflow.lib.data.generate import generate
from workflow.lib.data.registry import Archive, Dataset, read_registry, token_for
from workflow.lib.job.run import Progress, UserError, atomic_folder, atomic_path, write_json
from workflow.lib.study.folders import check_folder

log = logging.getLogger("medseg")


def use_folder(*, dataset: str, layout: str, folder: str, source: str | Path, registry: str | Path) -> None:
    """Data set in the user's own folder, read in place; archives of ImageNet found in it are checked."""
    place = check_folder(dataset, folder)
    archives = [archive for row in read_registry(registry).values() for archive in row.archives]
    known = [archive for archive in archives if archive.checksum != "unknown" and (place / archive.file).is_file()]
    files = [check_archive(place / archive.file, archive.checksum) for archive in known] if layout == "imagenet" else []
    _write_source(source, dataset, "folder", layout, place, files)


def generate_dataset(*, dataset: str, layout: str, image_size: int, source: str | Path) -> None:
    """Data set generated in the official layout, in the folder `generated` beside `source`."""
    folder = Path(source).parent.absolute() / "generated"
    with atomic_folder(folder) as temporary:
        generate(layout, temporary, image_size=image_size)
    _write_source(source, dataset, "generated", layout, folder, [])


def fetch_dataset(
    *,
    dataset: str,
    layout: str,
    source: str | Path,
    registry: str | Path,
    downloads: str | Path,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Data set of the registry: archives in `downloads` are used, missing ones downloaded, all checked and unpacked.

    Archives of layout imagenet are not unpacked but read in place. Kaggle's token is taken from KAGGLE_USERNAME and
    KAGGLE_KEY of `environment`. Raises one `UserError` that names every archive which must be fetched by hand.
    """
    row = _row(dataset, registry)
    downloads = Path(downloads).resolve()
    missing = [archive for archive in row.archives if not (downloads / archive.file).exists()]
    by_hand = [archive for archive in missing if not archive.url or _headers(archive.url, environment) is None]
    if by_hand:
        raise _fetch_by_hand(row, by_hand, downloads)
    for archive in missing:
        known = archive.checksum.removeprefix("sha256:") if archive.checksum.startswith("sha256:") else None
        download(archive.url, downloads / archive.file, sha256=known, headers=_headers(archive.url, environment) or {})
    files = [check_archive(downloads / archive.file, archive.checksum) for archive in row.archives]
    folder = downloads
    if layout != "imagenet":
        folder = Path(source).parent.absolute() / "raw"
        for archive in row.archives:
            place = folder if len(row.archives) == 1 else folder / Path(archive.file).stem
            log.info("unpacking %s", archive.file)
            unpack(downloads / archive.file, place)
    _write_source(source, dataset, "registry", layout, folder, files)


def check_archive(path: Path, checksum: str) -> dict[str, Any]:
    """Check an archive against md5:<hex>, sha256:<hex> or unknown; returns its name, bytes and sha256.

    A checksum that the registry does not know is recorded at first sight in `path`.sha256 (readable by sha256sum -c);
    a later change is refused. Raises `UserError` when a checksum differs.
    """
    found = _digests(path)
    kind, _, expected = checksum.partition(":")
    record = path.with_name(path.name + ".sha256")
    if checksum == "unknown":
        kind = "sha256"
        if not record.exists():
            log.info("checksum of %s is not in the registry: recorded in %s", path.name, record)
            with atomic_path(record) as temporary:
                temporary.write_text(f"{found['sha256']}  {path.name}\n")
        expected = record.read_text().split()[0]
    if found[kind] != expected:
        recorded = f" (recorded in {record} when first seen)" if checksum == "unknown" else ""
        raise UserError(
            "archive has the wrong checksum",
            found=f"{kind} {found[kind]}",
            expected=f"{kind} {expected}{recorded}",
            where=path,
            next=f"rm '{path}' and download it again"
            + (f"; if the new file is right, also rm '{record}'" if recorded else " from the official page"),
        )
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": found["sha256"]}


def _digests(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 in one pass: the archives may be larger than 100 GB."""
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    progress = Progress(max(1, path.stat().st_size >> 20), f"MiB of {path.name} checked")
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            for digest in digests.values():
                digest.update(block)
            progress.step(len(block) >> 20)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _headers(url: str, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Headers for a download from `url`; None where a token is needed and absent."""
    token = token_for(url, environment)
    if token:
        return {"Authorization": "Basic " + base64.b64encode(token.encode()).decode()}
    return None if token is None else {}


def _fetch_by_hand(row: Dataset, archives: list[Archive], downloads: Path) -> UserError:
    token = any(archive.url for archive in archives)
    other = "export KAGGLE_USERNAME and KAGGLE_KEY" if token else f"set `folder` of {row.name} in the config"
    wanted = "; ".join(f"{archive.file} (checksum {archive.checksum})" for archive in archives)
    return UserError(
        f"data set {row.name} must be downloaded by hand ({row.licence})",
        found="; ".join(f"no {downloads / archive.file}" for archive in archives)
        + (", no KAGGLE_USERNAME and KAGGLE_KEY in the environment" if token else ""),
        expected=wanted,
        where=row.page,
        next=f"download from that page into {downloads}/ under these names, or {other}; then run the same command again",
    )


def _row(dataset: str, registry: str | Path) -> Dataset:
    rows = read_registry(registry)
    if dataset not in rows:
        raise UserError(
            f"data set {dataset} is not in the registry",
            found=f"no folder in the config, no row {dataset}",
            expected=f"one of {', '.join(rows)}",
            where=registry,
            next=f"set `folder` of {dataset} in the config, or add a row to the registry",
        )
    return rows[dataset]


def _write_source(
    path: str | Path, dataset: str, origin: str, layout: str, folder: Path, files: list[dict[str, Any]]
) -> None:
    card = {"dataset": dataset, "origin": origin, "layout": layout, "folder": str(folder), "files": files}
    write_json(path, card)
