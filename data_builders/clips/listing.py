"""What a folder holds, kept on disk, so that two million clips need no more memory than two hundred."""

import hashlib
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator


def temporary() -> sqlite3.Connection:
    """An SQLite file without a name, where SQLite has its temporary files; it goes when the connection does."""
    return sqlite3.connect("")


class Column(list):
    """The one column of a query, read whenever it is asked for: nothing of it is held.

    A list in name, since JSON's writer takes no other sequence; it has a length and can be gone through.
    """

    def __init__(self, database: sqlite3.Connection, query: str, *arguments):
        super().__init__()
        self._database, self._query, self._arguments = database, query, arguments

    def __len__(self) -> int:
        return self._database.execute(f"SELECT COUNT(*) FROM ({self._query})", self._arguments).fetchone()[0]

    def __iter__(self) -> Iterator[str]:
        return (value for (value,) in self._database.execute(self._query, self._arguments))


class Columns(dict):
    """The two columns of a query, keys and values, read whenever they are asked for: nothing of them is held.

    A dictionary in name, since JSON's writer takes no other mapping; it has a length and can be gone through.
    """

    def __init__(self, database: sqlite3.Connection, query: str, *arguments):
        super().__init__()
        self._keys = Column(database, f"SELECT key FROM ({query})", *arguments)
        self._database, self._query, self._arguments = database, query, arguments

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def items(self) -> Iterator[tuple[str, str]]:
        """Each key with its value."""
        return self._database.execute(self._query, self._arguments)


class Listing:
    """Clips of datasets without annotations: the first file of each name.

    Args:
      folder: that the files are below; their places in it decide their order.
      paths: of the files.
      name: of the clip of the file at a place.

    Attributes:
      names: of the clips.
      others: paths of the files of a name that one before has.
    """

    def __init__(self, folder: pathlib.Path, paths: Iterable[str], name: Callable[[pathlib.PurePath], str]):
        self._database = temporary()
        self._database.execute("CREATE TABLE first (name TEXT PRIMARY KEY, place TEXT, hash BLOB) WITHOUT ROWID")
        self._database.execute("CREATE TABLE others (path TEXT)")
        for path in paths:
            place = pathlib.PurePath(path).relative_to(folder)
            row = (name(place), place.as_posix(), hashlib.sha256(place.as_posix().encode()).digest())
            if not self._database.execute("INSERT OR IGNORE INTO first VALUES (?, ?, ?)", row).rowcount:
                self._database.execute("INSERT INTO others VALUES (?)", (path,))
        self.names = Column(self._database, "SELECT name FROM first")
        self.others = Column(self._database, "SELECT path FROM others")

    def places(self, part: slice) -> Column:
        """Places of a part of the first files, in an order by a hash of their places."""
        query = "SELECT place FROM first ORDER BY hash LIMIT ? OFFSET ?"
        return Column(self._database, query, part.stop - part.start, part.start)
