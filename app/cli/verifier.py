"""The offline verifier as one file: ``lethe-verify.pyz``.

It holds ``app/ledger/verify.py`` and nothing else. The same source always makes the same bytes.
"""

import zipfile
from io import BytesIO
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "ledger/verify.py"


def build_verifier(target: Path) -> None:
    """Write the verifier; it runs with ``python lethe-verify.pyz``."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", (1980, 1, 1, 0, 0, 0)), SOURCE.read_bytes())
    target.write_bytes(b"#!/usr/bin/env python3\n" + buffer.getvalue())
    target.chmod(0o755)
