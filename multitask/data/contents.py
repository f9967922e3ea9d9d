"""What a file is by its first bytes, whatever its name says."""

from typing import BinaryIO, NamedTuple, cast

from multitask.errors import UserError

# Of what is opened so many bytes can be looked at beforehand.
PEEKED = 1 << 16


class Contents(NamedTuple):
    """What a file is, and the format that reads it, if there is one."""

    what: str
    format: str | None


_SIGNATURES = {
    b"PAR1": Contents("a Parquet file", "parquet"),
    b"ARROW1\0\0": Contents("an Arrow file", "arrow"),
    b"\xff\xff\xff\xff": Contents("an Arrow stream", "arrow"),
    b"PK\x03\x04": Contents("a ZIP archive or a spreadsheet", None),
    b"\xd0\xcf\x11\xe0": Contents("a spreadsheet of an old Excel", None),
    b"\x89HDF": Contents("an HDF5 file", None),
    b"SQLite format 3\0": Contents("an SQLite database", None),
    b"\x80\x04\x95": Contents("a pickle", None),
    b"%PDF": Contents("a PDF", None),
    b"version https://git-lfs": Contents("a Git LFS pointer and not the file itself: run git lfs pull", None),
}
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def peek(stream: BinaryIO) -> bytes:
    """Up to `PEEKED` bytes that come next; reading gives them again."""
    return cast(bytes, stream.peek(PEEKED)[:PEEKED])  # type: ignore[attr-defined]


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark says, other than UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def check_contents(head: bytes, format: str, file: str, task: str) -> None:
    """The file that begins so may be of this format.

    Raises:
        UserError: it is something else; it says what.
    """
    found = next((own for mark, own in _SIGNATURES.items() if head.startswith(mark)), None) or _text_contents(
        head, format
    )
    if found is None or found.format == format:
        return
    mend = f": set tasks.{task}.format={found.format}, or give it that suffix" if found.format else ""
    raise UserError(f"{file} is {found.what}, not {format}{mend}")


def check_encoding(head: bytes, file: str, task: str) -> None:
    """The text file that begins so, without a mark and a declared encoding, may be UTF-8.

    Raises:
        UserError: every other byte is zero, as in UTF-16.
    """
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[start:1024:2]
        if len(half) > 1 and half.count(0) > len(half) // 2:
            raise UserError(f"{file} looks like UTF-16: set tasks.{task}.layout.encoding={encoding}")


def _text_contents(head: bytes, format: str) -> Contents | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return Contents("a web page", None)
    if format in ("json", "lines"):
        return None
    if start.startswith(b"[") and start[1:].lstrip().startswith(b"{"):
        return Contents("a JSON array", "json")
    if start.startswith(b"{") and start[1:].lstrip().startswith(b'"') and format != "jsonl":
        return Contents("JSON", "jsonl")
    return None
