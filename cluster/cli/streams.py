"""What a command reads and writes in an environment whose encoding is not UTF-8."""

import codecs
import io
import locale
import sys
from collections.abc import Iterable

from multitask.errors import UserError

_MEND = "set PYTHONUTF8=1, or LC_ALL=C.UTF-8"


def prepare_streams() -> None:
    """Lines that come in are UTF-8, as files are; characters that the output does not have become `?`."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def check_encoding(arguments: Iterable[str]) -> None:
    """Raises:
    UserError: torch cannot be imported in this environment, since it reads its own files in its encoding; or one of a command's
        `arguments` holds bytes that are no text.
    """
    encoding = codecs.lookup(locale.getpreferredencoding(False)).name
    if encoding == "ascii":
        raise UserError(f"this environment's encoding is ascii, in which torch does not load: {_MEND}")
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(f"{argument!r} is no text in this environment's encoding, {encoding}: {_MEND}") from None
