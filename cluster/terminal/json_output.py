"""What commands print for programs."""

import codecs
import json
import sys
from typing import Any

from multitask.plain_json import finite


def print_json(value: Any) -> None:
    """One line of valid JSON; numbers that are not finite become null, and letters escapes where the output is not UTF-8."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(json.dumps(finite(value), ensure_ascii=not is_utf8, allow_nan=False), flush=True)
