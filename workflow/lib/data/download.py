"""Downloads that survive dropped connections. Headers and addresses with tokens in them are never logged."""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from workflow.lib.job.run import Progress, UserError, sha256_of, writing

log = logging.getLogger("medseg")

_BLOCK = 1 << 14  # bytes; what a dropped connection loses at most
_TIMEOUT = (30, 120)  # seconds to connect, seconds between two packets


class _TryAgain(Exception):
    """A failure that may pass; the text is safe to log."""


def download(
    url: str, path: str | Path, *, sha256: str | None, headers: Mapping[str, str] | None = None, retries: int = 5
) -> str:
    """Download `url` (http, https or file) to `path` and return its SHA-256.

    Data go to `path`.part, which a later try (also of a later run) continues where it ended; `path` appears only when
    it is complete and has the checksum `sha256` (None: not checked). Raises `UserError` after `retries` failures in a
    row without any progress, where the server refuses, and for a wrong checksum.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    log.info("downloading %s from %s", path.name, urlsplit(url).hostname or "this machine")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if urlsplit(url).scheme == "file":
            _copy(Path(url2pathname(urlsplit(url).path)), part)
        else:
            _download_http(url, part, headers or {}, retries)
    found = sha256_of(part)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise UserError(
            "downloaded file has the wrong checksum (it was removed)",
            found=f"sha256 {found}",
            expected=f"sha256 {sha256}",
            where=f"{path}, from {_shown(url)}",
            next="run the same command again; if it fails again, compare with the official page: the file may have changed",
        )
    part.replace(path)
    return found


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise UserError(
            "the file to copy is absent",
            found="no such file",
            expected="a file",
            where=source,
            next="put it there, or correct its address in the config or the registry",
        )
    shutil.copyfile(source, part)


def _download_http(url: str, part: Path, headers: Mapping[str, str], retries: int) -> None:
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _transfer(url, part, headers)
        except _TryAgain as error:
            progressed = part.exists() and part.stat().st_size > before
            failures = 1 if progressed else failures + 1
            if failures > retries:
                raise UserError(
                    f"download failed {failures} times in a row",
                    found=error,
                    expected="the complete file",
                    where=_shown(url),
                    next=f"run the same command again (it continues {part}), or put the file at "
                    f"{part.with_name(part.stem)} by hand",
                ) from None
            wait = min(60.0, 0.5 * 2**failures)
            log.info("%s: %s; trying again in %.0f s", part.stem, error, wait)
            time.sleep(wait)


def _transfer(url: str, part: Path, headers: Mapping[str, str]) -> None:
    """One request: append to `part`, or start again where the server does not continue."""
    have = part.stat().st_size if part.exists() else 0
    ask = {"Accept-Encoding": "identity", **headers} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=ask, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416:  # `part` is complete already, or longer than the file
                if response.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return
                part.unlink()
                raise _TryAgain("the file changed on the server")
            _check_status(response.status_code, url)
            goes_on = response.status_code == 206
            if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink(missing_ok=True)
                raise _TryAgain("the server sent another part of the file")
            _store(response, part, have if goes_on else 0)
    except requests.RequestException as error:
        # Only the kind: the text of such errors holds the full address, which may hold a token after a redirect.
        raise _TryAgain(type(error).__name__) from None


def _store(response: requests.Response, part: Path, have: int) -> None:
    whole = have + int(response.headers.get("Content-Length", 0))
    progress = Progress(max(1, whole >> 20), f"MiB of {part.stem}", done=have >> 20)
    with open(part, "ab" if have else "wb") as file:
        for block in response.iter_content(_BLOCK):
            file.write(block)
            have += len(block)
            progress.step((have >> 20) - progress.done)


def _check_status(status: int, url: str) -> None:
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        raise _TryAgain(f"HTTP status {status}")
    refused = status in (401, 403)
    raise UserError(
        "the server refuses the download" if refused else "the server does not have the file",
        found=f"HTTP status {status}",
        expected="status 200",
        where=_shown(url),
        next="check the token in your environment and that the terms were accepted on the page of the data set"
        if refused
        else "find the new address on the data set's page and correct workflow/registry/datasets.tsv",
    )


def _shown(url: str) -> str:
    """The address without user, password and query, which may hold tokens."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
