"""Why a witness does not work.

WitnessError
├── KeyMalformed    the file with its key cannot be read
├── OtherName       its key signs under another name already
├── LogsMalformed   the list of logs that it cosigns cannot be read
└── RecordDamaged   what it cosigned last cannot be read: nothing more is cosigned
"""


class WitnessError(Exception):
    """Base of all."""


class KeyMalformed(WitnessError):
    """The file with the key is not as this program writes it."""


class OtherName(WitnessError):
    """The key signs under another name; a cosignature does not say the name, so one is enough."""


class LogsMalformed(WitnessError):
    """The list of logs that it cosigns is no policy of C2SP tlog-policy."""


class RecordDamaged(WitnessError):
    """The checkpoint cosigned last cannot be read; to go on without it could cosign a fork."""
