"""The archive is read in one way, or not at all."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from app.ledger import verify
from app.ledger.verify import Refused, pack, read_evidence, unpack
from tests.ledger.forging import FILES


def test_the_same_files_make_the_same_archive() -> None:
    assert pack(FILES) == pack(dict(reversed(FILES.items())))
    assert unpack(pack(FILES)) == FILES


def test_a_compressed_or_padded_archive_is_refused() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    with pytest.raises(Refused, match="MalformedEvidence"):
        unpack(buffer.getvalue())

    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.txt", b"")
        archive.comment = b"hidden"
    with pytest.raises(Refused, match="MalformedEvidence"):
        unpack(buffer.getvalue())


def test_an_archive_that_claims_to_be_huge_is_refused_unread() -> None:
    data = pack({"README.txt": b"a"})
    size = (1).to_bytes(4, "little")
    huge = data.replace(size + size, b"\xff\xff\xff\x7f" * 2)
    assert huge != data

    with pytest.raises(Refused, match="MalformedEvidence"):
        unpack(huge)


@pytest.mark.parametrize(("limit", "value"), [("LARGEST_EVIDENCE", 6000), ("MOST_FILES", 5)])
def test_more_than_evidence_can_be_is_refused_unread(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pack(FILES)
    (tmp_path / "evidence.zip").write_bytes(data)
    zipfile.ZipFile(tmp_path / "evidence.zip").extractall(tmp_path / "folder")
    monkeypatch.setattr(verify, limit, value)

    with pytest.raises(Refused, match="too much"):
        unpack(data)
    with pytest.raises(Refused, match="too much"):
        read_evidence(tmp_path / "evidence.zip")
    with pytest.raises(Refused, match="too much"):
        read_evidence(tmp_path / "folder")
    with pytest.raises(Refused, match="too much"):
        pack(FILES)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../keys.json", "entries/x.json", "model.bin", "entries/1.json\n", ""]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="MalformedEvidence"):
        pack({name: b""})


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "README.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="MalformedEvidence"):
        read_evidence(tmp_path)
