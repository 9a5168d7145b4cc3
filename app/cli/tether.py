"""Run a program that ends when its parent does, whatever ends the parent.

``python -m app.cli.tether <pid of the parent> <program> <arguments>`` asks Linux for a SIGKILL on
the parent's death and then becomes the program. A service that is built to be killed at any moment
needs no kinder signal; a kinder one could be waited out by a long job.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def tethered(argv: Sequence[str]) -> list[str]:
    """Return the command that runs ``argv`` tied to the life of this process.

    Linux watches the parent's *thread*: start it from one that lives as long as the process.
    """
    return [sys.executable, "-m", "app.cli.tether", str(os.getpid()), *argv]


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended already")
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
