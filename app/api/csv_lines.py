"""Lines of CSV (RFC 4180) that no spreadsheet takes for anything but text.

Programs run a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, split lines at
other separators than the comma, and drop quotes when they do. So a quote goes before each such
sign where a cell could begin, whatever the separator (OWASP, CSV injection).
"""

import re
from collections.abc import Iterable
from datetime import datetime

from app.infra import clock

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
_BEGINNING = re.compile(r"(^|[,;|\t\"\u201c\u201d])([\s\u200b-\u200f\ufeff]*)(?=[=+\-@＝＋－＠])")  # noqa: RUF001 - spreadsheets take these, too
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def line(values: Iterable[object]) -> bytes:
    r"""Write one record.

    >>> line(["a", 1, None, True, "b; c", "=1+1"])
    b'a,1,,yes,"b; c",\'=1+1\r\n'
    """
    return (",".join(map(_quoted, map(cell, values))) + "\r\n").encode()


def cell(value: object) -> str:
    """Return the text of a value: empty for None, times in UTC, numbers plain."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case datetime():
            return clock.rfc3339(value)
    text = _CONTROL.sub(" ", str(value))
    return _BEGINNING.sub(r"\g<1>\g<2>'", text)


def _quoted(text: str) -> str:
    if re.search(r'[",;\t ]', text):
        return '"' + text.replace('"', '""') + '"'
    return text
