"""Bring the two deposited tables of a finished run into its result folder."""

import shutil
from pathlib import Path

from workflow.lib.data.download import download
from workflow.lib.job.run import UserError, atomic_path, sha256_of


def fetch_table(folder: str | None, url: str | None, sha256: str | None, output: str | Path) -> None:
    """Copy the table named like `output` from `folder`, or download it from below `url`.

    Raises `UserError` when neither is given, the file is absent, or its SHA-256 differs from the one given.
    """
    name = Path(output).name
    if folder:
        copy_verified(Path(folder) / name, output, sha256)
    elif url:
        try:
            download(f"{url.rstrip('/')}/{name}", output, sha256=sha256, headers={}, retries=5)
        except UserError as error:
            run = Path(output).parent.name
            raise UserError(
                f"table {name} of run {run} cannot be downloaded",
                found=str(error).replace("\n", "\n  "),
                expected="a reachable page, or a folder that holds the table",
                where=f"config: deposited.{run}",
                next=f"put the two tables into a folder; then --config run={run} 'deposited={{{run}: {{folder: /path/to/it}}}}'",
            ) from error
    else:
        raise UserError(
            "no place to take a deposited table from",
            found="folder: null, url: null",
            expected="a folder or a URL",
            where=f"config.yaml, deposited: {Path(output).parent.name}",
            next="set one of the two in config.yaml",
        )


def copy_verified(source: Path, output: str | Path, sha256: str | None) -> None:
    """Copy a file, atomically, and check its SHA-256 where one is given (`UserError`)."""
    step = "put the right file there, or correct folder and sha256 under `deposited` in config.yaml"
    if not source.is_file():
        raise UserError(
            "a deposited table is absent", found="no such file", expected=source.name, where=source, next=step
        )
    found = sha256_of(source)
    if sha256 and found != sha256:
        raise UserError("a deposited table has changed", found=found, expected=sha256, where=source, next=step)
    with atomic_path(output) as temporary:
        shutil.copyfile(source, temporary)


def fetch_tables(
    folder: str | None,
    url: str | None,
    downstream_sha256: str | None,
    robustness_sha256: str | None,
    downstream: str,
    robustness: str,
) -> None:
    """`fetch_table` for both tables of a run."""
    fetch_table(folder, url, downstream_sha256, downstream)
    fetch_table(folder, url, robustness_sha256, robustness)
