"""Only the process that runs a job loads torch."""

import subprocess
import sys

import pytest

CHECK = "import sys, {module}; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"


@pytest.mark.parametrize("module", ["workers.tasks", "workers.supervision", "app.cli.up"])
def test_parents_load_no_torch(module: str) -> None:
    ended = subprocess.run([sys.executable, "-c", CHECK.format(module=module)], check=False)
    assert ended.returncode == 0
