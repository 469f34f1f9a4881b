"""Which segments a build wants, which of them have a file, and which shard each goes to.

Kept in an SQLite file, so that two million clips need no more memory than two hundred.
"""

import hashlib
import os
import pathlib
import pickle
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator

from data_builders.parts import clip_files
from data_builders.parts.segments import Segment

Located = tuple[Segment, str, int]  # segment, path of its file, bytes of the file


class Plan:
    """Segments of every split beside the files of a folder.

    Args:
      manual_dir: folder of the clips.
      suffixes: of media files.
    """

    def __init__(self, manual_dir: str | os.PathLike, suffixes: tuple[str, ...]):
        self._manual_dir = pathlib.Path(manual_dir)
        self._suffixes = suffixes
        self._folder = tempfile.TemporaryDirectory(prefix="avlearn_plan_")
        self._database = sqlite3.connect(os.path.join(self._folder.name, "plan.sqlite"))
        self._database.execute("CREATE TABLE files (stem TEXT PRIMARY KEY, path TEXT, bytes INTEGER) WITHOUT ROWID")
        self._database.execute(
            "CREATE TABLE wanted (split TEXT, clip_id TEXT, hash BLOB, segment BLOB, path TEXT, bytes INTEGER, "
            "PRIMARY KEY (split, hash, clip_id)) WITHOUT ROWID"
        )
        self._walked = set()
        self._walk("")

    def add(self, split: str, segments: Iterable[Segment]) -> None:
        """Adds segments to a split.

        Raises:
          ValueError: a clip occurs twice in a split.
        """
        for segment in segments:
            if segment.folder not in self._walked:
                self._walk(segment.folder)
            digest = hashlib.sha256(segment.clip_id.encode()).digest()[:8]  # an order that no class or folder has
            row = (split, segment.clip_id, digest, pickle.dumps(segment), *(self._file_of(segment) or (None, None)))
            try:
                self._database.execute("INSERT INTO wanted VALUES (?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise ValueError(f"the clip {segment.clip_id!r} occurs twice in the split {split!r}") from None

    def keep_first(self, count: int) -> None:
        """Drops all but the first segments of every split, in the order of their shards; 0 keeps all."""
        for split in self.splits() if count else []:
            query = "SELECT hash, clip_id FROM wanted WHERE split = ? ORDER BY hash, clip_id LIMIT 1 OFFSET ?"
            if first_dropped := self._database.execute(query, (split, count)).fetchone():
                condition = "split = ? AND (hash, clip_id) >= (?, ?)"
                self._database.execute(f"DELETE FROM wanted WHERE {condition}", (split, *first_dropped))

    def splits(self) -> list[str]:
        """Splits that have segments, in order of their names."""
        return [split for (split,) in self._database.execute("SELECT DISTINCT split FROM wanted ORDER BY split")]

    def expected(self, split: str) -> int:
        """How many segments are wanted."""
        return self._count("SELECT COUNT(*) FROM wanted WHERE split = ?", split)

    def found(self, split: str) -> int:
        """How many of them have a file."""
        return self._count("SELECT COUNT(*) FROM wanted WHERE split = ? AND path IS NOT NULL", split)

    def segments(self, split: str) -> Iterator[tuple[Segment, bool]]:
        """Every segment of a split, and whether it has a file."""
        query = "SELECT segment, path IS NOT NULL FROM wanted WHERE split = ?"
        for data, found in self._database.execute(query, (split,)):
            yield pickle.loads(data), bool(found)

    def shards(self, split: str, count: int) -> Iterator[list[Located]]:
        """The segments that have a file, divided into shards, in an order that only the clips' ids decide.

        The division is that of all segments, found or not: a file that is found later changes its own shard only.
        """
        expected = self.expected(split)
        query = "SELECT segment, path, bytes FROM wanted WHERE split = ? ORDER BY hash, clip_id"
        cursor = self._database.execute(query, (split,))
        for shard in range(count):
            size = expected * (shard + 1) // count - expected * shard // count
            rows = cursor.fetchmany(size)
            yield [(pickle.loads(data), path, size_bytes) for data, path, size_bytes in rows if path is not None]

    def check_any_found(self) -> None:
        """Refuses a folder in which nothing was found.

        Raises:
          ValueError: no segment has a file; shows what was looked for and what is there.
        """
        if self._count("SELECT COUNT(*) FROM wanted WHERE path IS NOT NULL"):
            return
        expected = self._count("SELECT COUNT(*) FROM wanted")
        if not expected:
            raise ValueError("the annotations name no clip")
        wanted = [pickle.loads(row) for (row,) in self._database.execute("SELECT segment FROM wanted LIMIT 3")]
        looked_for = ", ".join(repr(self._names(segment)[0]) for segment in wanted)
        there = ", ".join(repr(name) for name in clip_files.what_is_there(self._manual_dir, self._suffixes))
        raise ValueError(
            f"none of the {expected} clips that the annotations name is below --manual_dir={self._manual_dir}.\n"
            f"Looked for (with any of {' '.join(self._suffixes)}): {looked_for}\nThere: {there or 'nothing'}\n"
            f"Names that are understood for one clip: {', '.join(self._names(wanted[0]))}"
        )

    def _walk(self, folder: str) -> None:
        """Lists the files below a folder as `folder/stem`, or as `stem` where it is `--manual_dir` itself."""
        prefix = f"{folder}/" if folder else ""
        walk = clip_files.walk(self._manual_dir / folder, self._suffixes)
        files = ((prefix + stem, path, size) for stem, path, size in walk)
        # Of files of one name in several folders, the first in order is used.
        self._database.executemany("INSERT OR IGNORE INTO files VALUES (?, ?, ?)", files)
        self._walked.add(folder)

    def _file_of(self, segment: Segment) -> tuple[str, int] | None:
        names = self._names(segment)
        marks = ",".join("?" * len(names))
        rows = self._database.execute(f"SELECT stem, path, bytes FROM files WHERE stem IN ({marks})", names)
        there = {stem: (path, size) for stem, path, size in rows}
        return next((there[name] for name in names if name in there), None)

    @staticmethod
    def _names(segment: Segment) -> list[str]:
        stems = clip_files.stems(segment.video_id, segment.start_seconds, segment.duration_seconds)
        return [f"{segment.folder}/{stem}" for stem in stems] if segment.folder else stems

    def _count(self, query: str, *arguments) -> int:
        return self._database.execute(query, arguments).fetchone()[0]
