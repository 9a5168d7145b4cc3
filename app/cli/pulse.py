"""``python -m app.cli.pulse worker|sweeper``: end well if that process of this machine is alive."""

import sys

from app.infra.pulse import is_beating
from app.infra.settings import settings

if __name__ == "__main__":
    sys.exit(not is_beating(settings().home, sys.argv[1]))
