"""The offline verifier as one file: ``lethe-verify.pyz``.

It holds ``app/ledger/verify.py`` and what checks disclosures beside it, and nothing else. The same
source always makes the same bytes.
"""

import zipfile
from io import BytesIO
from pathlib import Path

LEDGER = Path(__file__).parents[1] / "ledger"
PARTS = ("verify.py", "verify_disclosed.py")
START = b"""\
import sys

from app.ledger.verify_disclosed import main

sys.exit(main())
"""


def build_verifier(target: Path) -> None:
    """Write the verifier; it runs with ``python lethe-verify.pyz``."""
    contents = {"__main__.py": START, "app/__init__.py": b"", "app/ledger/__init__.py": b""}
    contents |= {f"app/ledger/{name}": (LEDGER / name).read_bytes() for name in PARTS}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    target.write_bytes(b"#!/usr/bin/env python3\n" + buffer.getvalue())
    target.chmod(0o755)
