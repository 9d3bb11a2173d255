"""Downloads against a local server that drops connections, refuses, or cannot continue."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workflow.lib.data.download import download
from workflow.lib.job.run import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any path; the attributes say how badly."""

    drop_after: int | None = None  # bytes sent before the connection is closed
    drops = 0  # how often that happens
    status: list[int]  # answered first
    requests: list[dict[str, str]]  # their headers
    ranges = True
    redirect: str | None = None  # where requests with a token are sent on to

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.requests = [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.zip?token=secret-in-query"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        if self.server.redirect and "Authorization" in self.headers:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        if self.server.status:
            self.send_response(self.server.status.pop(0))
            self.end_headers()
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        end = len(CONTENT)
        if self.server.drops:
            self.server.drops -= 1
            end = start + int(self.server.drop_after or 0)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_plain(server: Server, tmp_path: Path) -> None:
    assert download(server.url, tmp_path / "new" / "a.zip", sha256=SHA256) == SHA256
    assert (tmp_path / "new" / "a.zip").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zip"]


def test_dropped_connections_are_continued(server: Server, tmp_path: Path) -> None:
    server.drop_after, server.drops = 50_000, 3
    assert download(server.url, tmp_path / "a.zip", sha256=None, retries=1) == SHA256  # progress resets the count
    starts = [int(request["Range"][6:-1]) for request in server.requests[1:]]
    assert [round(start, -5) for start in starts] == [0, 100_000, 100_000] and starts == sorted(set(starts))


def test_a_later_run_continues(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1234])
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256) == SHA256
    assert server.requests[0]["Range"] == "bytes=1234-"


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"too long"])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(left)
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256) == SHA256


def test_a_server_that_cannot_continue(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drop_after, server.drops = False, 1000, 1
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256) == SHA256


def test_busy_servers_are_asked_again_until_the_retries_end(server: Server, tmp_path: Path) -> None:
    server.status = [503, 429]
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256, retries=2) == SHA256
    server.status = [503] * 3
    with pytest.raises(UserError, match="failed 3 times"):
        download(server.url, tmp_path / "b.zip", sha256=None, retries=2)
    assert not (tmp_path / "b.zip").exists()


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download(server.url, tmp_path / "a.zip", sha256="0" * 64)
    for part in (SHA256, "0" * 64, str(tmp_path / "a.zip"), "run the same command again"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "step"), [(401, "token"), (404, "datasets.tsv")])
def test_refusals_are_not_repeated(server: Server, tmp_path: Path, status: int, step: str) -> None:
    server.status = [status]
    with pytest.raises(UserError, match=f"HTTP status {status}") as error:
        download(server.url, tmp_path / "a.zip", sha256=None)
    assert step in str(error.value) and len(server.requests) == 1


def test_no_token_in_log_or_message(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server.drop_after, server.drops, server.status = 10, 1, [503]
    download(server.url, tmp_path / "a.zip", sha256=SHA256, headers={"Authorization": "Basic secret-key"})
    assert server.requests[0]["Authorization"] == "Basic secret-key"
    server.status = [403]
    with pytest.raises(UserError) as error:
        download(server.url, tmp_path / "b.zip", sha256=None, headers={"Authorization": "Basic secret-key"})
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as gone:
        download(url, tmp_path / "c.zip", sha256=None, retries=1)
    assert "a.zip" in caplog.text
    assert "secret" not in caplog.text + str(error.value) + str(gone.value)


def test_no_token_follows_a_redirect_or_is_told(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kaggle sends downloads on to another host, under an address that is itself a secret."""
    caplog.set_level("DEBUG")
    server.redirect = server.url.replace("127.0.0.1", "localhost").replace("secret-in-query", "secret-signature")
    headers = {"Authorization": "Basic secret-key"}
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256, headers=headers) == SHA256
    assert ["Authorization" in request for request in server.requests] == [True, False]
    server.status = [404]  # of the second host
    with pytest.raises(UserError, match="404") as error:
        download(server.url, tmp_path / "b.zip", sha256=None, headers=headers)
    medseg = "".join(record.getMessage() for record in caplog.records if record.levelname != "DEBUG")
    assert "b.zip" in medseg and "secret" not in medseg + str(error.value)


def test_a_flipped_part_is_removed_and_the_next_try_is_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"?" + CONTENT[1:5000])
    with pytest.raises(UserError, match="wrong checksum"):
        download(server.url, tmp_path / "a.zip", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []
    assert download(server.url, tmp_path / "a.zip", sha256=SHA256) == SHA256


def test_an_absent_file_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent") as error:
        download((tmp_path / "b.zip").as_uri(), tmp_path / "a.zip", sha256=None)
    assert str(tmp_path / "b.zip") in str(error.value)


def test_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "with space.zip").write_bytes(CONTENT)
    assert download((tmp_path / "with space.zip").as_uri(), tmp_path / "a.zip", sha256=SHA256) == SHA256
