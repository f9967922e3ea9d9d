"""Seeds for generators, keyed by what they are for."""

import hashlib


def generator_key(*parts: int | str) -> int:
    """A seed (63 bits) that depends on all `parts` and on nothing else, the same in every process and Python."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
