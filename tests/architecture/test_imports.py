"""Who imports whom, and what a process loads."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Libraries that come with a declared one, whose interface speaks in their terms.
WITH = {
    "anyio": "fastapi",
    "backpack": "backpack-for-pytorch",
    "botocore": "boto3",
    "click": "typer",
    "curvlinops": "curvlinops-for-pytorch",
    "kombu": "celery",
    "starlette": "fastapi",
    "typing_extensions": "pydantic",
}
OURS = {"app", "workers", "migrations", "scripts", "benchmarks", "tests", "lethe-unlearning"}

# Only what the library may use can be imported; the rest of the environment seems not to be there.
ALONE = """
import importlib, importlib.abc, pathlib, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
for file in sorted(pathlib.Path({folder!r}).rglob("*.py")):
    importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )


def imported_by(folder: str) -> Iterator[tuple[Path, str]]:
    """Yield each file below a folder with the first names of the modules that it imports."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module.partition(".")[0]


def distribution(requirement: str) -> str:
    """Return the normalised name of a requirement such as ``psycopg[binary]>=3; ...``."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name
    return name[0].lower().replace("_", "-")


def declared() -> set[str]:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {distribution(requirement) for wanted in lists for requirement in wanted} - OURS


def test_imports_point_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], check=False, capture_output=True, text=True, timeout=120, cwd=ROOT
    )

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", ["app.api.main", "workers.supervision"])
def test_the_light_processes_load_no_torch(module: str) -> None:
    result = run(f"import sys, {module}; print(sorted({{'torch', 'boto3'}} & set(sys.modules)))")

    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_the_api_loads_no_celery() -> None:
    assert run("import sys, app.api.main; sys.exit('celery' in sys.modules)").returncode == 0


def test_the_numerics_need_one_package() -> None:
    names = {name for _, name in imported_by("app/unlearning")}

    assert names - sys.stdlib_module_names == {"app", "torch"}


def test_the_numerics_import_where_only_torch_is_installed() -> None:
    absent = {
        module
        for module, owners in packages_distributions().items()
        if {distribution(owner) for owner in owners} & (declared() - {"torch", "numpy"})
    }
    assert {"sqlalchemy", "pydantic", "safetensors"} <= absent

    result = run(ALONE.format(absent=absent, folder="app/unlearning"))

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "folder", ["app", "workers", "migrations", "scripts", "tests", "benchmarks"]
)
def test_every_import_is_a_declared_dependency(folder: str) -> None:
    providers = packages_distributions()
    known = declared() | OURS

    for path, name in imported_by(folder):
        if name in sys.stdlib_module_names or name in OURS:
            continue
        provider = WITH.get(name, name)
        owners = {distribution(owner) for owner in providers.get(provider, [provider])}
        assert owners & known, f"{path.relative_to(ROOT)} imports {name}"


def test_every_dependency_is_pinned_once() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin) for pin in pins)
    assert sorted(pin.partition("==")[0] for pin in pins) == sorted(declared())
    assert "torch==2.13.0" in pins
