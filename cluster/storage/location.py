"""Places below a folder or a URI."""


def inside(location: str, path: str) -> str:
    """The place of `path` below `location`; a URI's query, as `?endpoint_override=…`, stays at its end."""
    base, mark, query = location.partition("?") if "://" in location else (location, "", "")
    return f"{base.rstrip('/')}/{path}{mark}{query}" if path else location


def last_name(location: str) -> str:
    """The name of the folder at `location`."""
    base = location.partition("?")[0] if "://" in location else location
    return base.rstrip("/").rpartition("/")[2]


def places(name: str, storage: str) -> list[str]:
    """Where what a user calls `name` may lie: at that folder or URI, or under that name in `storage`."""
    return [name] if "://" in name else [name, inside(storage, name)]
