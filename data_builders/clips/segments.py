"""What a dataset's annotations ask for: segments of videos, with their labels and boxes."""

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
      time_seconds: of the annotated frame, from the start of the clip; None: the middle frame.
      annotator: number of who drew it, from 0.
    """

    bbox: tuple[float, float, float, float]
    label: str
    time_seconds: float | None = None
    annotator: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """One clip that the annotations ask for.

    Attributes:
      clip_id: unique in the dataset.
      video_id: of the video it is from, which names the clip's file.
      labels: class ids of what sounds.
      start_seconds: where it starts in its video.
      duration_seconds: how long it is at most; None: the file as it is.
      boxes: annotated objects.
      folder: the one below `--manual_dir` that its file is in, which tells files of one name apart; empty: any.
      of_whole_video: the file named by the video alone is the whole video, whatever its length; no other name is tried.
      where: the annotation file and the line that name it, for complaints; no part of what it is.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """A segment and a file that may hold it.

    Attributes:
      segment: what is wanted.
      file: where it is.
      cut: whether the file's name says where the segment starts, so that it is the segment and not the whole video.
    """

    segment: Segment
    file: ClipFile
    cut: bool


def rows(path: str | os.PathLike, fields: int, layout: str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Rows of a delimited annotation file, without blank lines and `# ` comments, stripped of spaces.

    Args:
      path: the file.
      fields: how many a row has.
      layout: what they are, for the complaint.
      delimiter: between fields.

    Yields:
      Line number, from 1, and fields.

    Raises:
      ValueError: a row of another length, or no row at all; says the file and the line.
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
    if empty:  # as a download that failed leaves it
        raise ValueError(f"{path} has no row; expected {layout}")


def seconds(text: str, path: str | os.PathLike, line: int, layout: str) -> float:
    """A time in an annotation file.

    Raises:
      ValueError: it is no number of 0 or more; says the file and the line.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{path}, line {line}: {text!r} is no time in seconds; expected {layout}")
    return value
