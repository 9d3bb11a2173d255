"""Unpacking: damaged archives and members outside of the folder are refused, and nothing is left behind."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow.lib.data.archive import unpack
from workflow.lib.job.run import UserError


def make_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"content" * 100)
    return path


def make_tar(path: Path, *names: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 700 if kind == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(b"content" * 100))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_unpack(tmp_path: Path, name: str) -> None:
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, "folder with space/a.txt", "b.txt")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "folder with space" / "a.txt").read_bytes() == b"content" * 100
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "b.txt").exists()


@pytest.mark.parametrize("member", ["../evil.txt", "a/../../evil.txt", "/tmp/evil-absolute.txt", "..\\evil.txt"])
def test_zip_members_outside_of_the_folder(tmp_path: Path, member: str) -> None:
    assert_refused(make_zip(tmp_path / "a.zip", "good.txt", member), tmp_path, member.split("evil")[0][-3:-1])


def test_tar_members_outside_of_the_folder(tmp_path: Path) -> None:
    assert_refused(make_tar(tmp_path / "a.tar", "good.txt", "../evil.txt"), tmp_path, "../evil.txt")


def test_links(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", "link", kind=tarfile.SYMTYPE, target="../../etc/passwd")
    assert_refused(archive, tmp_path, "link")
    member = zipfile.ZipInfo("link")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr(member, "/etc/passwd")
    assert_refused(tmp_path / "b.zip", tmp_path, "link 'link'")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar(tmp_path: Path, kind: bytes) -> None:
    assert_refused(
        make_tar(tmp_path / "a.tar.gz", "special", kind=kind, target="good.txt"), tmp_path, "device 'special'"
    )


def test_writing_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "victim")
        file.addfile(link)
        member = tarfile.TarInfo("link/evil.txt")
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    assert_refused(tmp_path / "a.tar", tmp_path, "link or device 'link'")


def test_absolute_names_of_a_tar_stay_inside(tmp_path: Path) -> None:
    unpack(make_tar(tmp_path / "a.tar", "/tmp/evil-absolute.txt"), tmp_path / "out")
    assert not Path("/tmp/evil-absolute.txt").exists() and (tmp_path / "out/tmp/evil-absolute.txt").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_that_unpacks_to_more_than_the_disk_holds(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", bytes(5_000_000))
    else:
        with tarfile.open(archive, "w:gz") as file:
            member = tarfile.TarInfo("zeros")
            member.size = 5_000_000
            file.addfile(member, io.BytesIO(bytes(5_000_000)))
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4_999_999))
    with pytest.raises(UserError, match="too little disk space") as error:
        unpack(archive, tmp_path / "out")
    assert "0.0 GB" in str(error.value) and str(archive) in str(error.value)
    assert list(tmp_path.iterdir()) == [archive]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.html"])
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("html"):
        path.write_text("<html>please log in</html>")
    else:
        (make_zip if name.endswith("zip") else make_tar)(path, *(f"{i}.txt" for i in range(20)))
        content = bytearray(path.read_bytes())
        content[200:220] = b"x" * 20  # inside the first member
        path.write_bytes(content if name.endswith("zip") else content[: len(content) // 2])
    assert_refused(path, tmp_path, "damaged" if not name.endswith("html") else "neither zip nor tar")


def assert_refused(archive: Path, tmp_path: Path, found: str) -> None:
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as error:
        unpack(archive, tmp_path / "out")
    assert found in str(error.value) and str(archive) in str(error.value) and "rm '" in str(error.value)
    assert {path for path in tmp_path.parent.rglob("*") if path.is_file()} == before
    assert not Path("/tmp/evil-absolute.txt").exists()
