"""The end of the story: the evidence is downloaded and verified without the service.

The verifier is one file that needs Python and ``cryptography``; it runs in a process of its own
that sees these two and no other package, neither this program's modules nor its environment.
"""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app.cli.verifier import build_verifier
from app.client import Lethe

PACKAGES = ("cryptography", "cffi", "_cffi_backend", "pycparser")
"""What ``pip install cryptography`` installs."""
START = """\
import runpy, sys
sys.path.append(sys.argv.pop(1))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Proof:
    """What the offline verifier said.

    Attributes:
        lines: For people.
        faults: What is not as it should be.
    """

    lines: tuple[str, ...]
    faults: tuple[str, ...]


def prove(client: Lethe, request_id: str, weights: Path, folder: Path) -> Proof:
    """Download the evidence about a request, verify it, and see a changed byte refused.

    Args:
        client: Of the service.
        request_id: Which request; it is done.
        weights: The published file that has to be the certified one.
        folder: For the files; they stay there.

    Returns:
        What was seen.
    """
    client.wait_for_certificate(request_id)
    archive = folder / f"{request_id}.zip"
    client.download_evidence(request_id, archive)
    verifier = folder / "lethe-verify.pyz"
    build_verifier(verifier)
    key = str(client.log_keys()[-1]["vkey"])
    options = ["--key", key, "--model", str(weights)]
    good, said = _verified(verifier, archive, options)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    changed = folder / "changed.zip"
    changed.write_bytes(content)
    bad, refusal = _verified(verifier, changed, options)
    faults = []
    if good != 0:
        faults.append(f"the evidence is not accepted: {said}")
    if bad == 0:
        faults.append("the evidence is accepted although a byte of it is changed")
    size = f"{archive.stat().st_size / 1024:.0f} KiB"
    return Proof((f"{size}, {said}", f"with one byte changed, {refusal}"), tuple(faults))


def _verified(verifier: Path, archive: Path, options: list[str]) -> tuple[int, str]:
    bare = _bare(verifier.parent / "packages")
    # -I and -S: neither the folder we are in nor the packages of this environment.
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", "-c", START, str(bare), str(verifier), str(archive), *options],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout or done.stderr).strip()


def _bare(folder: Path) -> Path:
    """Make a folder of packages that holds ``cryptography`` and what it needs, and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        link = folder / source.name
        if not link.exists():
            link.symlink_to(source)
    return folder
