"""The verifier stands alone: cryptography beside it, nothing else, and short enough to read."""

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

from app.ledger import verify
from app.ledger.verify import pack
from tests.ledger.case import ISSUER, LOG, good_case

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "app/ledger"


def imported(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def lines_of_code(path: Path) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    source = path.read_text()
    documentation = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line
        for token in tokens
        if token.type not in silent and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - documentation)


def test_the_library_imports_the_standard_library_cryptography_and_itself() -> None:
    names = {name.partition(".")[0] for path in LEDGER.glob("*.py") for name in imported(path)}
    ours = {
        name for path in LEDGER.glob("*.py") for name in imported(path) if name.startswith("app.")
    }

    assert names - sys.stdlib_module_names == {"app", "cryptography"}
    assert all(name.startswith("app.ledger.") for name in ours)


def test_the_verifier_imports_nothing_of_ours() -> None:
    names = {name.partition(".")[0] for name in imported(LEDGER / "verify.py")}

    assert names - sys.stdlib_module_names == {"cryptography"}


def test_what_verifies_disclosures_imports_the_verifier_and_nothing_else_of_ours() -> None:
    source = LEDGER / "verify_disclosed.py"

    assert {name for name in imported(source) if name.startswith("app")} == {"app.ledger.verify"}
    others = {name.partition(".")[0] for name in imported(source)}
    assert others - sys.stdlib_module_names == {"app"}
    assert lines_of_code(source) < 100


def test_the_verifier_can_be_read_in_one_sitting() -> None:
    source = LEDGER / "verify.py"
    code, lines = lines_of_code(source), len(source.read_text().splitlines())
    message = f"the verifier: {code} lines of code, {lines} with documentation and blank lines"
    sys.stdout.write(message + "\n")

    assert code < 600


def test_every_refusal_has_a_name_that_means_an_outcome() -> None:
    """Names are texts in the source; one that is misspelled would only show when it is needed."""
    known = {name for names in verify.NAMES.values() for name in names.split()}
    texts = {
        node.value
        for name in ("verify.py", "verify_disclosed.py")
        for node in ast.walk(ast.parse((LEDGER / name).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    like_names = {text for text in texts if re.fullmatch("([A-Z][a-z]+)+", text)}

    assert like_names == known


def test_it_verifies_in_an_interpreter_that_has_cryptography_alone(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if origin.name == "__init__.py" else origin
            (packages / source.name).symlink_to(source)
    (packages / "app").mkdir()
    (packages / "app/ledger").symlink_to(LEDGER)
    evidence = tmp_path / "evidence.zip"
    evidence.write_bytes(pack(good_case().files))
    program = f"""
import importlib, pathlib, runpy, sys
sys.path.append({str(packages)!r})
for file in sorted(pathlib.Path({str(LEDGER)!r}).glob("*.py")):
    if file.stem not in ("__init__", "__main__"):
        importlib.import_module("app.ledger." + file.stem)
assert not [name for name in sys.modules if name.startswith(("torch", "pydantic", "sqlalchemy"))]
sys.argv = ["lethe-verify", {str(evidence)!r}]
sys.argv += ["--key", {str(LOG.key)!r}, "--key", {str(ISSUER.key)!r}]
runpy.run_module("app.ledger", run_name="__main__")
"""

    # -I and -S: neither the environment's packages nor the folder we are in.
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("ok: ")
