"""Files of a Zenodo record, or of a folder, with the hashes that they had when first seen. Nothing here imports torch."""

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

from workflow.lib.data.archive import unpack
from workflow.lib.data.download import download
from workflow.lib.data.fetch import check_archive
from workflow.lib.job.run import UserError, atomic_path, read_json, sha256_of, write_json

log = logging.getLogger("medseg")

ARCHIVE = (".zip", ".tar", ".tar.gz", ".tgz")
WEIGHTS = re.compile(r"(unet_encoder|resnet50|swin_transformer)_(simple|advanced)_pretraining_checkpoint_epoch_\d+\.pt")


class RecordFile(NamedTuple):
    """One file of a record; checksum: md5:<hex>, or unknown."""

    name: str
    url: str
    checksum: str


def fetch_released(*, url: str, folder: str | None, files: str | Path) -> None:
    """Fetch the study's encoder weights and write `files`: {"from", "licence", "weights": {file name: {"path", "sha256"}}}.

    They come from the record at `url` (Zenodo's API: single files, else archives of them) and stay beside `files`; or
    from `folder`, where they stay. `hashes.sha256` beside `files` keeps the hashes seen first (readable by sha256sum -c).
    Raises `UserError` where there are none, two different ones of one name, or a hash differs from the record's or from
    the one seen first.
    """
    place = Path(files).parent.absolute()
    found = _from_folder(Path(folder), place) if folder else _from_record(url, place)
    if not found:
        raise _wrong_record(
            "no encoder weights of the study",
            found="no file of such a name",
            expected="files like unet_encoder_simple_pretraining_checkpoint_epoch_5.pt, or an archive of them",
            where=folder or url,
        )
    hashes: dict[str, str] = {}
    for path in found:
        if hashes.setdefault(path.name, value := sha256_of(path)) != value:
            raise _wrong_record(
                "two different weights of one name",
                found=", ".join(str(other) for other in found if other.name == path.name),
                expected="one file of each name",
                where=folder or url,
            )
    refuse_changes(place / "hashes.sha256", hashes)
    weights = {path.name: {"path": str(path), "sha256": hashes[path.name]} for path in found}
    licence = None if folder else _licence_of(read_json(place / "record.json"))
    write_json(files, {"from": folder or url, "licence": licence, "weights": weights})


def _licence_of(record: Any) -> str | None:
    """The licence of a record, as Zenodo states it."""
    try:
        return str(record["metadata"]["license"]["id"])
    except (KeyError, TypeError):
        return None


def record_files(record: dict[str, Any], url: str) -> list[RecordFile]:
    """The files of a record, as Zenodo's API at `url` describes it. Raises `UserError` for anything else."""
    try:
        listed = record["files"]
        entries = listed if isinstance(listed, list) else listed["entries"].values()
        return [_record_file(entry) for entry in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise _wrong_record(
            "unexpected description of the record",
            found=f"{sorted(record)}, {type(error).__name__} {error}",
            expected="files, each with key, links.self and checksum",
            where=url,
        ) from error


def _record_file(entry: dict[str, Any]) -> RecordFile:
    checksum = str(entry.get("checksum") or "")
    known = checksum if checksum.startswith(("md5:", "sha256:")) else "unknown"
    return RecordFile(Path(entry["key"]).name, entry["links"].get("content") or entry["links"]["self"], known)


def refuse_changes(lock: Path, hashes: dict[str, str]) -> None:
    """Compare SHA-256 values with those in `lock`, one `<sha256>  <name>` a line, and add new names.

    Raises `UserError` for a name whose value differs; `lock` is then unchanged.
    """
    lines = lock.read_text().splitlines() if lock.exists() else []
    known = {name: value for value, name in (line.split("  ", 1) for line in lines if line.strip())}
    for name, value in hashes.items():
        if known.get(name, value) != value:
            raise UserError(
                "a file is not the one that was seen first",
                found=f"{name}, sha256 {value}",
                expected=f"sha256 {known[name]}",
                where=lock,
                next=f"get the first file back; if the new one is right, delete the line of {name} in that list",
            )
    with atomic_path(lock) as temporary:
        temporary.write_text("".join(f"{value}  {name}\n" for name, value in sorted((known | hashes).items())))


def _from_record(url: str, place: Path) -> list[Path]:
    try:
        download(url, place / "record.json", sha256=None)
        record = read_json(place / "record.json")
    except (UserError, OSError) as error:
        raise _wrong_record(
            "the record of the study's weights cannot be read",
            found=str(error).replace("\n", "\n  "),
            expected="the description of a record by Zenodo's API",
            where=url,
        ) from error
    listed = record_files(record, url)
    single = [file for file in listed if WEIGHTS.fullmatch(file.name)]
    archives = [file for file in listed if file.name.lower().endswith(ARCHIVE)]
    log.info("the record has %d weights and %d archives", len(single), len(archives))
    for file in single or archives:
        if file.url.startswith("file:") and not url.startswith("file:"):
            raise _wrong_record("the record names a local file", found=file.url, expected="http addresses", where=url)
        path = place / file.name
        if not path.exists():
            download(file.url, path, sha256=None)
        check_archive(path, file.checksum)
    return [place / file.name for file in single] or _unpacked([place / file.name for file in archives], place)


def _from_folder(folder: Path, place: Path) -> list[Path]:
    files = [path.absolute() for path in sorted(folder.rglob("*")) if path.is_file()]
    archives = [path for path in files if path.name.lower().endswith(ARCHIVE)]
    return [path for path in files if WEIGHTS.fullmatch(path.name)] or _unpacked(archives, place)


def _unpacked(archives: list[Path], place: Path) -> list[Path]:
    found = []
    for archive in archives:
        refuse_changes(place / "hashes.sha256", {archive.name: sha256_of(archive)})
        folder = place / "unpacked" / archive.name
        unpack(archive, folder)
        found += [path for path in sorted(folder.rglob("*.pt")) if WEIGHTS.fullmatch(path.name)]
    return found


def _wrong_record(what: str, *, found: object, expected: str, where: object) -> UserError:
    advice = "fetch the files by hand and give their folder in the config, released: {folder: /path}"
    return UserError(what, found=found, expected=expected, where=where, next=advice)
