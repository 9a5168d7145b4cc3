"""Write ``app/domain/architectures.json`` from the layers the numerics allow.

The API process checks architectures without torch; the file is what it checks with. Run this
after changing ``app/unlearning/architectures``; a test fails while the file is stale.
"""

import json
from pathlib import Path

from app.unlearning.architectures import describe

TARGET = Path(__file__).parent.parent / "app" / "domain" / "architectures.json"


def render() -> str:
    """Return the text of the file."""
    return json.dumps(describe(), indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the file."""
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()
