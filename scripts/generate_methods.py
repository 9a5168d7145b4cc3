"""Write app/domain/methods.json: what the API must know of the methods without loading torch.

``items`` is what ``GET /v1/methods`` shows; ``controls`` names what a policy may ask to be measured
beside a result. With ``--check`` nothing is written, and the exit code is 1 if the file is stale.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "app" / "domain" / "methods.json"


def document() -> str:
    """The file's content."""
    from app.unlearning.methods import control_names, describe_methods

    content = {"items": describe_methods(), "controls": list(control_names())}
    return json.dumps(content, indent=2) + "\n"


def main() -> int:
    """Write the file, or check it.

    Returns:
        The exit code.
    """
    content = document()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(content, encoding="utf-8")
        return 0
    fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == content
    if not fresh:
        print("app/domain/methods.json is stale: run scripts/generate_methods.py")
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.path.insert(0, str(TARGET.parent.parent.parent))
    sys.exit(main())
