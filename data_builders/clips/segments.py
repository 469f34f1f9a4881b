"""Segments of videos, with their labels and boxes; reads the annotation files that list them."""

import csv
import dataclasses
import os
from collections.abc import Iterator

from data_builders.clips.clip_files import ClipFile


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """An annotated object.

    Attributes:
      bbox: (ymin, xmin, ymax, xmax), normalised to the frame.
      label: class id.
      time_seconds: time of the annotated frame, from the start of the clip; None: the middle frame.
      annotator: number of the person who drew it, from 0.
    """

    bbox: tuple[float, float, float, float]
    label: str
    time_seconds: float | None = None
    annotator: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A clip that the annotations name.

    Attributes:
      clip_id: id, unique in the dataset.
      video_id: id of its video; the clip's file is named after it, or after what follows its last `/`.
      labels: class ids of its sounds.
      start_seconds: start in its video.
      duration_seconds: maximum length; None: the length of the file.
      boxes: annotated objects.
      folder: folder of its file, below `--manual_dir`, to distinguish files with the same name; empty: any.
      of_whole_video: whether its file is the complete video, whatever its length; no other name is tried.
      where: line of the annotations that names it, for error messages; not compared.
    """

    clip_id: str
    video_id: str
    labels: tuple[str, ...]
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    boxes: tuple[Box, ...] = ()
    folder: str = ""
    of_whole_video: bool = False
    where: str = dataclasses.field(default="", compare=False, repr=False)

    @property
    def file_name(self) -> str:
        """Name of the video's file, without suffix."""
        return self.video_id.rpartition("/")[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """A segment and a file that may hold it.

    Attributes:
      segment: segment to read.
      file: file to read it from.
      cut: whether the file's name states the segment's start, so that it is the segment and not the complete video.
    """

    segment: Segment
    file: ClipFile
    cut: bool


def rows(path: str | os.PathLike, fields: int, layout: str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a delimited annotation file, without blank lines and `# ` comments, stripped of spaces.

    Args:
      path: path of the file.
      fields: number of fields in a row.
      layout: names of the fields, for error messages.
      delimiter: delimiter between fields.

    Yields:
      Line number, from 1, and fields.

    Raises:
      ValueError: a row has another number of fields, or the file is empty; the message names the file and the line.
    """
    empty = True
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for row in reader:
                if not "".join(row).strip() or row[0].startswith("# "):
                    continue
                if len(row) != fields:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(row)} fields ({delimiter.join(row)[:80]!r}), expected "
                        f"{fields}: {layout}"
                    )
                empty = False
                yield reader.line_num, [field.strip() for field in row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}; expected {layout}") from error
    if empty:  # for example after a failed download
        raise ValueError(f"{path} has no row; expected {layout}")


def seconds(text: str, path: str | os.PathLike, line: int, layout: str) -> float:
    """Return a time in an annotation file.

    Raises:
      ValueError: it is not a number of 0 or more; the message names the file and the line.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{path}, line {line}: {text!r} is not a time in seconds; expected {layout}")
    return value
