"""Why nothing is signed.

SigningError
├── KeysMalformed   the configured keys are none
├── NoSigningKey    no key may sign now
├── KeptDamaged     the checkpoint kept from before cannot be read
├── KeptLost        the log has signed something, and no checkpoint is kept
├── OtherOrigin     the checkpoint kept from before is of another log
├── SmallerTree     the tree has fewer leaves than was signed already
└── OtherRoot       the tree is not the one that was signed already
"""


class SigningError(Exception):
    """Base of all."""


class KeysMalformed(SigningError):
    """The configured keys cannot be read."""


class NoSigningKey(SigningError):
    """There is no private key that may sign at this time."""


class KeptDamaged(SigningError):
    """The file that holds the checkpoint kept outside the database holds none."""


class KeptLost(SigningError):
    """Checkpoints are signed, and the one kept outside is gone: there may have been more."""


class OtherOrigin(SigningError):
    """The checkpoint kept outside the database is of another log."""


class SmallerTree(SigningError):
    """The database holds fewer leaves than a checkpoint that was signed: it was rolled back."""


class OtherRoot(SigningError):
    """The first leaves of the tree are not those that a signed checkpoint is over."""
