"""Unpacking: damaged archives and members outside of the folder are refused, and nothing is left behind."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from workflow.lib.data.archive import unpack
from workflow.lib.run import UserError


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
def test_unpack(tmp_path, name):
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, "folder with space/a.txt", "b.txt")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "folder with space" / "a.txt").read_bytes() == b"content" * 100
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "b.txt").exists()


@pytest.mark.parametrize("member", ["../evil.txt", "a/../../evil.txt", "/tmp/evil-absolute.txt", "..\\evil.txt"])
def test_zip_members_outside_of_the_folder(tmp_path, member):
    assert_refused(make_zip(tmp_path / "a.zip", "good.txt", member), tmp_path, member.split("evil")[0][-3:-1])


def test_tar_members_outside_of_the_folder(tmp_path):
    assert_refused(make_tar(tmp_path / "a.tar", "good.txt", "../evil.txt"), tmp_path, "../evil.txt")


def test_links(tmp_path):
    archive = make_tar(tmp_path / "a.tar", "link", kind=tarfile.SYMTYPE, target="../../etc/passwd")
    assert_refused(archive, tmp_path, "link")
    member = zipfile.ZipInfo("link")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr(member, "/etc/passwd")
    assert_refused(tmp_path / "b.zip", tmp_path, "link 'link'")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.html"])
def test_damaged_archives(tmp_path, name):
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
