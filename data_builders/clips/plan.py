"""Plans a build: the segments, the files that hold them, and the shard of each.

The plan is an SQLite file, so that two million clips need no more memory than two hundred.
"""

import hashlib
import math
import os
import pathlib
import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from data_builders.clips import clip_files
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.listing import QueryColumn, QueryMapping
from data_builders.clips.segments import Located, Segment

CLIPS_PER_SHARD = 32
MIN_CLIPS_PER_SHARD = 4
MIN_SHARDS = 16  # one for each worker of the papers
OUTCOMES = """
    SELECT clip_id, segment, CASE files WHEN 0 THEN 'missing' ELSE reason END AS reason, IFNULL(detail, '') AS detail
    FROM wanted LEFT JOIN refused USING (split, clip_id) WHERE split = ?
"""


class Plan:
    """Segments of every split, and the files of a folder that hold them.

    Args:
      manual_dir: folder of the clips, or the only file.
      suffixes: suffixes of the media files.
      database: path of the SQLite file; an existing one is replaced.

    Attributes:
      skipped: files and folders that are not used, with the reasons.
    """

    def __init__(self, manual_dir: str | os.PathLike, suffixes: tuple[str, ...], database: str | os.PathLike):
        self._manual_dir = pathlib.Path(manual_dir)
        self._suffixes = suffixes
        pathlib.Path(database).unlink(missing_ok=True)
        self._database = sqlite3.connect(database)
        self._database.execute(
            "CREATE TABLE files (stem TEXT, position INTEGER, file BLOB, PRIMARY KEY (stem, position)) WITHOUT ROWID"
        )
        self._database.execute(
            "CREATE TABLE wanted (split TEXT, clip_id TEXT, hash BLOB, segment BLOB, files INTEGER, located BLOB, "
            "PRIMARY KEY (split, hash, clip_id)) WITHOUT ROWID"
        )
        self._database.execute(
            "CREATE TABLE refused (split TEXT, clip_id TEXT, reason TEXT, detail TEXT, "
            "PRIMARY KEY (split, clip_id)) WITHOUT ROWID"
        )
        self._database.execute(
            "CREATE TABLE notes (split TEXT, subject TEXT, clip_id TEXT, note TEXT, "
            "PRIMARY KEY (split, subject, clip_id)) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE skipped (text TEXT)")
        self.skipped = QueryColumn(self._database, "SELECT text FROM skipped")
        self._walked = set()
        self._walk("")

    def add(self, split: str, segments: Iterable[Segment]) -> None:
        """Add segments to a split.

        Raises:
          ValueError: a clip occurs twice in a split; the message names both lines if the segments have them.
        """
        for segment in segments:
            if segment.folder not in self._walked:
                self._walk(segment.folder)
            digest = hashlib.sha256(segment.clip_id.encode()).digest()[
                :8
            ]  # for an order that ignores classes and folders
            located = self._locate(segment)
            row = (split, segment.clip_id, digest, pickle.dumps(segment), len(located), pickle.dumps(located))
            try:
                self._database.execute("INSERT INTO wanted VALUES (?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise ValueError(self._duplicate_message(split, segment, digest)) from None

    def keep_first(self, count: int) -> None:
        """Keep only the first `count` segments of every split, in the order of the shards; 0 keeps all."""
        for split in self.splits() if count else []:
            query = "SELECT hash, clip_id FROM wanted WHERE split = ? ORDER BY hash, clip_id LIMIT 1 OFFSET ?"
            if first_dropped := self._database.execute(query, (split, count)).fetchone():
                condition = "split = ? AND (hash, clip_id) >= (?, ?)"
                self._database.execute(f"DELETE FROM wanted WHERE {condition}", (split, *first_dropped))

    def splits(self) -> list[str]:
        """Return the splits that have segments, sorted by name."""
        return [split for (split,) in self._database.execute("SELECT DISTINCT split FROM wanted ORDER BY split")]

    def expected(self, split: str) -> int:
        """Return the number of segments of a split."""
        return self._count("SELECT COUNT(*) FROM wanted WHERE split = ?", split)

    def found(self, split: str) -> int:
        """Return the number of segments that have a file."""
        return self._count("SELECT COUNT(*) FROM wanted WHERE split = ? AND files > 0", split)

    def with_several_files(self, split: str) -> int:
        """Return the number of segments that have more than one file; the first readable one is used."""
        return self._count("SELECT COUNT(*) FROM wanted WHERE split = ? AND files > 1", split)

    def refuse(self, split: str, refused: Mapping[str, Sequence[str]]) -> None:
        """Record why no record could be made of some clips.

        Args:
          split: split of the clips.
          refused: clip id to (reason, detail).
        """
        rows = ((split, clip_id, *why) for clip_id, why in refused.items())
        self._database.executemany("INSERT INTO refused VALUES (?, ?, ?, ?)", rows)

    def note(self, split: str, subject: str, notes: Mapping[str, str]) -> None:
        """Record notes on some clips, for `coverage.json`.

        Args:
          split: split of the clips.
          subject: subject of the notes.
          notes: clip id to its note.
        """
        rows = ((split, subject, clip_id, note) for clip_id, note in notes.items())
        self._database.executemany("INSERT INTO notes VALUES (?, ?, ?, ?)", rows)

    def notes(self, split: str, subject: str) -> QueryMapping:
        """Return the notes on a subject by clip id, sorted."""
        query = "SELECT clip_id AS key, note AS value FROM notes WHERE split = ? AND subject = ? ORDER BY clip_id"
        return QueryMapping(self._database, query, split, subject)

    def not_built(self, split: str) -> dict[str, QueryColumn]:
        """Return each reason for a missing record (`missing`: no file), with the sorted ids of its segments."""
        outcomes = f"SELECT * FROM ({OUTCOMES}) WHERE reason IS NOT NULL"
        reasons = self._database.execute(f"SELECT DISTINCT reason FROM ({outcomes}) ORDER BY reason", (split,))
        ids = f"SELECT clip_id FROM ({outcomes}) WHERE reason = ? ORDER BY clip_id"
        return {reason: QueryColumn(self._database, ids, split, reason) for (reason,) in reasons.fetchall()}

    def outcomes(self, split: str) -> Iterator[tuple[Segment, str | None, str]]:
        """Yield every segment of a split, the reason why it has no record (None: it has one), and the details."""
        for data, reason, detail in self._database.execute(
            f"SELECT segment, reason, detail FROM ({OUTCOMES})", (split,)
        ):
            yield pickle.loads(data), reason, detail

    def shards(self, split: str, count: int) -> Iterator[list[tuple[Located, ...]]]:
        """Divide the segments that have a file into shards, in an order that depends on the clips' ids only.

        Segments without a file count in the division, so a file that is found later changes only its own shard.

        Yields:
          The files of each segment of a shard, in the order to try them.
        """
        expected = self.expected(split)
        query = "SELECT files, located FROM wanted WHERE split = ? ORDER BY hash, clip_id"
        cursor = self._database.execute(query, (split,))
        for shard in range(count):
            size = expected * (shard + 1) // count - expected * shard // count
            yield [pickle.loads(located) for files, located in cursor.fetchmany(size) if files]

    def check_any_found(self) -> None:
        """Refuse a folder that holds none of the clips.

        Raises:
          ValueError: no segment has a file; the message shows some expected names and some in the folder.
        """
        if self._count("SELECT COUNT(*) FROM wanted WHERE files > 0"):
            return
        expected = self._count("SELECT COUNT(*) FROM wanted")
        if not expected:
            raise ValueError("the annotations name no clip")
        wanted = [pickle.loads(row) for (row,) in self._database.execute("SELECT segment FROM wanted LIMIT 3")]
        looked_for = ", ".join(repr(self._possible_stems(segment)[0]) for segment in wanted)
        there = ", ".join(repr(name) for name in clip_files.example_names(self._manual_dir, self._suffixes))
        raise ValueError(
            f"none of the {expected} clips that the annotations name is below --manual_dir={self._manual_dir}.\n"
            f"Looked for (with any of {' '.join(self._suffixes)}): {looked_for}\nFound: {there or 'nothing'}\n"
            f"Accepted names of one clip: {', '.join(self._possible_stems(wanted[0]))}"
        )

    def _walk(self, folder: str) -> None:
        """List the files below a folder as `folder/stem`, or as `stem` below `--manual_dir` itself."""
        prefix = f"{folder}/" if folder else ""
        self._walked.add(folder)
        if not (self._manual_dir / folder).exists():
            return
        skip = (lambda text: None) if folder else self._skip  # the first walk reports them all
        for file in clip_files.walk(self._manual_dir / folder, self._suffixes, skip):
            # Files with the same name are tried in the order of their folders.
            row = (prefix + file.stem, self._database.total_changes, pickle.dumps(file))
            self._database.execute("INSERT INTO files VALUES (?, ?, ?)", row)

    def _skip(self, text: str) -> None:
        self._database.execute("INSERT INTO skipped VALUES (?)", (text,))

    def _locate(self, segment: Segment) -> tuple[Located, ...]:
        """Return every file that may hold a segment, in the order to try them."""
        names = self._possible_stems(segment)
        marks = ",".join("?" * len(names))
        query = f"SELECT stem, file FROM files WHERE stem IN ({marks}) ORDER BY stem, position"
        rows = self._database.execute(query, names).fetchall()
        files: list[ClipFile] = [pickle.loads(data) for _, data in sorted(rows, key=lambda row: names.index(row[0]))]
        if segment.folder:  # the folders below it may hold other clips of the same name
            files = [file for file in files if os.path.dirname(file.path) == os.path.dirname(files[0].path)]
        return tuple(Located(segment, file, cut=file.stem != segment.file_name) for file in files)

    def _duplicate_message(self, split: str, second: Segment, digest: bytes) -> str:
        query = "SELECT segment FROM wanted WHERE split = ? AND hash = ? AND clip_id = ?"
        (data,) = self._database.execute(query, (split, digest, second.clip_id)).fetchone()
        lines = [segment.where for segment in (pickle.loads(data), second) if segment.where]
        where = f": {' and '.join(lines)}. Remove one of the two" if lines else ""
        return f"the clip {second.clip_id!r} occurs twice in the split {split!r}{where}"

    @staticmethod
    def _possible_stems(segment: Segment) -> list[str]:
        seconds = None if segment.of_whole_video else segment.duration_seconds
        stems = clip_files.possible_stems(segment.file_name, segment.start_seconds, seconds)
        return [f"{segment.folder}/{stem}" for stem in stems] if segment.folder else stems

    def _count(self, query: str, *arguments) -> int:
        return self._database.execute(query, arguments).fetchone()[0]


def shard_count(expected: int, found: int) -> int:
    """Return the number of shards of a split: a power of two that depends on the clips in the annotations.

    So the division into shards, and with it the finished shards, stays the same when more clips are found. The number
    is smaller only if few clips are found.
    """
    count = 2 ** math.ceil(math.log2(max(1, expected / CLIPS_PER_SHARD)))
    while count > MIN_SHARDS and found < MIN_CLIPS_PER_SHARD * count:
        count //= 2
    return max(MIN_SHARDS, count)
