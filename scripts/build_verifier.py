"""Write the offline verifier as one file: ``python scripts/build_verifier.py [file]``."""

import sys
from pathlib import Path

from app.cli.verifier import build_verifier

if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "lethe-verify.pyz")
    build_verifier(target)
    print(f"wrote {target}")
