"""Lists of files kept on disk, so that two million clips need no more memory than two hundred."""

import hashlib
import pathlib
import sqlite3
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping


def temporary() -> sqlite3.Connection:
    """Open a nameless SQLite file among SQLite's temporary files; it is deleted when the connection closes."""
    return sqlite3.connect("")


class QueryColumn(Collection[str]):
    """The only column of a query, which runs again at every use, so that no value is held in memory.

    Args:
      database: database to query.
      query: a SELECT of one column.
      *arguments: arguments of the query.
    """

    def __init__(self, database: sqlite3.Connection, query: str, *arguments: object):
        self._database, self._query, self._arguments = database, query, arguments

    def __len__(self) -> int:
        return self._database.execute(f"SELECT COUNT(*) FROM ({self._query})", self._arguments).fetchone()[0]

    def __iter__(self) -> Iterator[str]:
        return (value for (value,) in self._database.execute(self._query, self._arguments))

    def __contains__(self, value: object) -> bool:
        return any(value == each for each in self)


class QueryMapping(Mapping[str, str]):
    """The columns `key` and `value` of a query, which runs again at every use, so that no item is held in memory.

    Args:
      database: database to query.
      query: a SELECT of these two columns in this order; no key occurs twice.
      *arguments: arguments of the query.
    """

    def __init__(self, database: sqlite3.Connection, query: str, *arguments: object):
        self._database, self._query, self._arguments = database, query, arguments

    def __len__(self) -> int:
        return self._database.execute(f"SELECT COUNT(*) FROM ({self._query})", self._arguments).fetchone()[0]

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.rows())

    def __getitem__(self, key: str) -> str:
        query = f"SELECT value FROM ({self._query}) WHERE key = ?"
        row = self._database.execute(query, (*self._arguments, key)).fetchone()
        if row is None:
            raise KeyError(key)
        return row[0]

    def items(self) -> ItemsView[str, str]:
        """Return a view that reads keys and values by one query."""
        return _QueryItems(self)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield every key with its value, in the order of the query."""
        return self._database.execute(self._query, self._arguments)


class _QueryItems(ItemsView[str, str]):
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._mapping.rows()


class Listing:
    """Clips of a dataset without annotations: the first file of each name.

    Args:
      folder: folder that the files are below.
      paths: paths of the files.
      name: function from a file's path below the folder to the name of its clip.

    Attributes:
      names: names of the clips.
      duplicates: paths of the files with the same name as an earlier one.
    """

    def __init__(self, folder: pathlib.Path, paths: Iterable[str], name: Callable[[pathlib.PurePath], str]):
        self._database = temporary()
        self._database.execute("CREATE TABLE first (name TEXT PRIMARY KEY, path TEXT, hash BLOB) WITHOUT ROWID")
        self._database.execute("CREATE TABLE duplicates (path TEXT)")
        for path in paths:
            relative = pathlib.PurePath(path).relative_to(folder)
            row = (name(relative), relative.as_posix(), hashlib.sha256(relative.as_posix().encode()).digest())
            if not self._database.execute("INSERT OR IGNORE INTO first VALUES (?, ?, ?)", row).rowcount:
                self._database.execute("INSERT INTO duplicates VALUES (?)", (path,))
        self.names = QueryColumn(self._database, "SELECT name FROM first")
        self.duplicates = QueryColumn(self._database, "SELECT path FROM duplicates")

    def relative_paths(self, part: slice) -> QueryColumn:
        """Return part of the first files, as paths below the folder, ordered by a hash of these paths."""
        query = "SELECT path FROM first ORDER BY hash LIMIT ? OFFSET ?"
        return QueryColumn(self._database, query, part.stop - part.start, part.start)
