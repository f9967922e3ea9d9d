"""Where Optuna keeps studies: a database by its URL, or a journal in a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from multitask.config.messages import valid_names
from multitask.errors import UserError

if TYPE_CHECKING:
    import optuna

_DATABASES = (".db", ".sqlite", ".sqlite3")


@contextmanager
def optuna_storage(location: str, *, new: bool) -> "Iterator[optuna.storages.BaseStorage]":
    """The storage at `location`, as optuna-dashboard names it: `sqlite:///study.db`, another database's URL, or a journal file.

    `new`: it may be made.

    Raises:
        UserError: it cannot be opened, here or while it is used.
    """
    import sqlalchemy.exc as sql
    from optuna.exceptions import StorageInternalError

    try:
        yield _database(location, new) if "://" in location else _journal(location, new)
    except (sql.SQLAlchemyError, StorageInternalError, ImportError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        raise UserError(f"storage {without_password(location)}: {str(cause).splitlines()[0]}") from None


def without_password(location: str) -> str:
    """`location` as it may be shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in location:
        return location
    try:
        return make_url(location).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return location.partition("://")[0] + "://…"


def study_called(name: str | None, storage: "optuna.storages.BaseStorage", location: str) -> "optuna.Study":
    """The study `name` of the storage, or its only one.

    Raises:
        UserError: there is none, or more than one to choose from.
    """
    import optuna

    names = optuna.study.get_all_study_names(storage)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        which = f"no study {name!r}" if name else "not one study alone, name it by --study"
        known = valid_names(name or "", names) if names else "it has none"
        raise UserError(f"storage {without_password(location)}: {which}; {known}")
    return optuna.load_study(study_name=name, storage=storage)


def _database(location: str, new: bool) -> "optuna.storages.BaseStorage":
    import optuna

    file = location.partition("sqlite:///")[2]
    if file and not new and not Path(file).is_file():
        raise UserError(f"storage {location}: there is no file {file}")
    return optuna.storages.RDBStorage(location)


def _journal(location: str, new: bool) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if location.endswith(_DATABASES):
        raise UserError(
            f"storage {location}: a database is named by its URL, sqlite:///{location}; a journal ends in .log"
        )
    if not new and not Path(location).is_file():
        raise UserError(f"storage {location}: there is no such file")
    return JournalStorage(JournalFileBackend(location))
