"""The offline verifier as one file: ``lethe-verify.pyz``.

It holds the modules of ``app.ledger`` that verifying needs, and nothing else of ours. The same
sources always make the same bytes.
"""

import ast
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "app.ledger"
START = """\
import sys

from app.ledger.__main__ import main

sys.exit(main())
"""


def build_verifier(target: Path) -> None:
    """Write the verifier; it runs with ``python lethe-verify.pyz``."""
    files = {"__main__.py": START.encode(), "app/__init__.py": b""}
    for name in sorted(_needed()):
        path = _path(name)
        files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), files[name])
    target.write_bytes(b"#!/usr/bin/env python3\n" + buffer.getvalue())
    target.chmod(0o755)


def _needed() -> set[str]:
    """Return the modules of the package that its command imports, however indirectly."""
    found: set[str] = set()
    waiting = [PACKAGE, f"{PACKAGE}.__main__"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        tree = ast.parse(_path(name).read_text())
        imported = (node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        waiting += [module for module in imported if module and module.startswith(PACKAGE)]
    return found


def _path(module: str) -> Path:
    place = ROOT.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
