"""Lists of files kept on disk, so that two million clips need no more memory than two hundred."""

import contextlib
import hashlib
import os
import pathlib
import sqlite3
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping
from typing import BinaryIO

import tqdm

UNUSABLE = "(refused AND NOT built)"
END_BYTES = 4096


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
      same_name: a line for each file with the name of an earlier one, with the paths of both.
      same_contents: the same for files with the contents of another (see `drop_copies`).
    """

    def __init__(self, folder: pathlib.Path, paths: Iterable[str], name: Callable[[pathlib.PurePath], str]):
        self._folder, self._database = folder, temporary()
        self._database.execute(
            "CREATE TABLE first (name TEXT PRIMARY KEY, path TEXT, hash BLOB, refused INTEGER DEFAULT 0, "
            "built INTEGER DEFAULT 0) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE duplicates (kind TEXT, path TEXT, first TEXT)")
        self.names = QueryColumn(self._database, "SELECT name FROM first")
        lines = "SELECT path || ': ' || first || ' is used' FROM duplicates WHERE kind = ?"
        self.same_name = QueryColumn(self._database, lines, "name")
        self.same_contents = QueryColumn(self._database, lines, "contents")
        insert = "INSERT OR IGNORE INTO first (name, path, hash) VALUES (?, ?, ?)"
        for relative in (pathlib.PurePath(path).relative_to(folder) for path in paths):
            key, path = name(relative), relative.as_posix()
            row = (key, path, hashlib.sha256(path.encode()).digest())
            if not self._database.execute(insert, row).rowcount:
                self._database.execute("INSERT INTO duplicates VALUES ('name', ?, ?)", (path, self.path(key)))

    def path(self, name: str) -> str | None:
        """Return the path of the file of a clip, below the folder; None if no clip has the name."""
        row = self._database.execute("SELECT path FROM first WHERE name = ?", (name,)).fetchone()
        return row and row[0]

    def drop_copies(self) -> None:
        """Keep the first by path of the files with the same contents; so one file with several names is one clip.

        Files of the same size are compared by their ends first; only those that have the same ends are read in full.
        Empty files are kept: the build reports each of them.
        """
        sizes, ends = "sizes (num_bytes INTEGER, path TEXT)", "ends (digest BLOB, path TEXT)"
        for table in (sizes, ends, "contents (digest BLOB PRIMARY KEY, path TEXT)"):
            self._database.execute(f"CREATE TABLE {table}")
        paths = QueryColumn(self._database, "SELECT path FROM first")
        rows = ((os.path.getsize(self._folder / path), path) for path in paths)
        self._database.executemany("INSERT INTO sizes VALUES (?, ?)", rows)
        shared = "SELECT num_bytes FROM sizes WHERE num_bytes > 0 GROUP BY num_bytes HAVING COUNT(*) > 1"
        paths = QueryColumn(self._database, f"SELECT path FROM sizes WHERE num_bytes IN ({shared})")
        rows = self._digests(paths, _ends_digest, "comparing the ends of files of the same size")
        self._database.executemany("INSERT INTO ends VALUES (?, ?)", rows)
        shared = "SELECT digest FROM ends GROUP BY digest HAVING COUNT(*) > 1"
        paths = QueryColumn(self._database, f"SELECT path FROM ends WHERE digest IN ({shared}) ORDER BY path")
        for row in self._digests(paths, _digest, "comparing files with the same ends"):
            if not self._database.execute("INSERT OR IGNORE INTO contents VALUES (?, ?)", row).rowcount:
                digest, path = row
                insert = "INSERT INTO duplicates SELECT 'contents', ?, path FROM contents WHERE digest = ?"
                self._database.execute(insert, (path, digest))
        self._database.execute("DELETE FROM first WHERE path IN (SELECT path FROM duplicates)")

    def _digests(
        self, paths: QueryColumn, digest: Callable[[BinaryIO], bytes], description: str
    ) -> Iterator[tuple[bytes, str]]:
        """Yield the digest and the path of each file that can be read; the build reports the others."""
        for path in tqdm.tqdm(paths, desc=description, unit="file", delay=2):
            with contextlib.suppress(OSError), open(self._folder / path, "rb") as file:
                yield digest(file), path

    def relative_paths(self, part: slice) -> QueryColumn:
        """Return part of the files, as paths below the folder, by a hash of these paths; unusable ones come last."""
        query = f"SELECT path FROM first ORDER BY {UNUSABLE}, hash LIMIT ? OFFSET ?"
        return QueryColumn(self._database, query, part.stop - part.start, part.start)

    def record(self, name: str, *, built: bool) -> None:
        """Record whether a record of a clip, or of a part of it, was built."""
        column = "built" if built else "refused"
        self._database.execute(f"UPDATE first SET {column} = 1 WHERE name = ?", (name,))

    @property
    def unusable(self) -> int:
        """Number of recorded clips without anything built."""
        return self._database.execute(f"SELECT COUNT(*) FROM first WHERE {UNUSABLE}").fetchone()[0]


def _digest(file: BinaryIO) -> bytes:
    return hashlib.file_digest(file, "sha256").digest()


def _ends_digest(file: BinaryIO) -> bytes:
    """Return a digest of the size of a file, its beginning and its end."""
    begin = file.read(END_BYTES)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_BYTES))
    return hashlib.sha256(b"%d " % size + begin + file.read(END_BYTES)).digest()
