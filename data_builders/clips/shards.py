"""Builds the shards of a dataset, each on its own (`processes` has who builds which).

A shard is a pure function of its segments and settings. It is finished when its report stands beside it; a build that
was interrupted goes on with the shards that have none. No TensorFlow here (see `tfrecord_file`).
"""

import dataclasses
import errno
import functools
import hashlib
import json
import os
import pickle
import uuid
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import av
import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from avlearn.data import contents, schema, tfrecord_file
from avlearn.media.decode import UnreadableClip
from data_builders.clips import record, tfds_internals
from data_builders.clips.attempts import Attempts, write_atomically
from data_builders.clips.segments import Located

# A shard that other code left unfinished is built anew: another version of these modules (counted up by hand), or of a
# library that has a hand in the bytes.
FORMAT = (3, av.__version__, cv2.__version__, np.__version__)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make the records of a shard.

    Attributes:
      settings: what a record holds.
      labels: class id to label, of the classes of its clips: a dataset may have a class for each clip.
    """

    settings: record.Settings
    labels: Mapping[str, int]

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of its records."""
        return features(self.settings, class_count=1 + max(self.labels.values(), default=0))

    def serialized(self, example: dict) -> bytes:
        """A record as it is written: the same bytes wherever it is built, where TFDS leaves their order to chance."""
        proto = self._serializer.get_tf_example(self.features.encode_example(example))
        return proto.SerializeToString(deterministic=True)

    @functools.cached_property
    def _serializer(self) -> tfds_internals.ExampleSerializer:
        return tfds_internals.serializer(self.features)


def features(settings: record.Settings, class_count: int | None = None) -> tfds.features.FeaturesDict:
    """Features of the records of a builder's config; the classes may be named later."""
    return schema.features(
        None,
        class_count=class_count,
        frames=not settings.sound_only,
        optical_flow=settings.optical_flow,
        waveform=settings.waveform_hz > 0,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """What a shard is to hold; a file beside it, so that a plan of any size needs no memory.

    Attributes:
      clips: in order; of each the files that may hold it, the one to try first in front.
      recipe: how to make their records.
      time_limit_seconds: a file whose record takes longer is given up.
    """

    clips: tuple[tuple[Located, ...], ...]
    recipe: Recipe
    time_limit_seconds: float

    @classmethod
    def of(
        cls,
        clips: Sequence[tuple[Located, ...]],
        settings: record.Settings,
        labels: Mapping[str, int],
        time_limit_seconds: float,
    ) -> "Job":
        """A job with those of a dataset's labels that its clips have."""
        segments = [files[0].segment for files in clips]
        used = {label for segment in segments for label in (*segment.labels, *(box.label for box in segment.boxes))}
        recipe = Recipe(settings, {label: labels[label] for label in sorted(used)})
        return cls(tuple(clips), recipe, time_limit_seconds)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that decides the shard's bytes."""
        parts = (FORMAT, schema.SCHEMA_VERSION, self.clips, self.recipe)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a shard.

    Attributes:
      fingerprint: of the shard.
      time_limit_seconds: that its files had.
      num_bytes: of the records, without framing.
      built: how many clips have a record.
      whole_videos: how many of these were cut from a whole video.
      refused: clip id to (reason, detail).
      passed_over: clip id to what was wrong with the files before the one that it was built from.
      reasons: why files were refused or passed over, each reason once.
    """

    fingerprint: str
    time_limit_seconds: float
    num_bytes: int = 0
    built: int = 0
    whole_videos: int = 0
    refused: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    passed_over: dict[str, str] = dataclasses.field(default_factory=dict)
    reasons: list[str] = dataclasses.field(default_factory=list)


def write_job(shard: str, job: Job) -> None:
    """Says what the shard at a path is to hold; a build begins with it."""
    epath.Path(f"{shard}.job").write_bytes(pickle.dumps(job))
    Attempts(f"{shard}.reading").start_anew()


def report_of(shard: str) -> Report | None:
    """The report of the shard at a path; None where it is not finished, damaged, or was made for another job."""
    if not (epath.Path(f"{shard}.json").exists() and epath.Path(shard).exists()):
        return None
    try:
        report = Report(**json.loads(epath.Path(f"{shard}.json").read_text()))
    except (json.JSONDecodeError, TypeError):
        return None
    size = report.num_bytes + tfrecord_file.FRAMING_BYTES * report.built
    whole = epath.Path(shard).stat().length == size
    return report if whole and report.fingerprint == _job_of(shard).fingerprint else None


def gather_reports(paths: Sequence[str], file: str | os.PathLike) -> None:
    """Writes the reports of finished shards to one file, to be kept with the dataset."""
    with open(file, "w") as lines:
        for path in paths:
            report = json.loads(epath.Path(f"{path}.json").read_text())
            lines.write(json.dumps({"shard": os.path.basename(path), "report": report}) + "\n")


def spread_reports(file: str | os.PathLike) -> None:
    """Puts the reports of such a file beside their shards again, so that a later build goes on from them."""
    with open(file) as lines:
        for entry in map(json.loads, lines):
            write_atomically(os.path.join(os.path.dirname(file), f"{entry['shard']}.json"), json.dumps(entry["report"]))


def build(shard: str) -> int:
    """Builds a shard by its job, unless it is finished; returns how many clips it was to have.

    A clip that cannot be read is reported, and the build goes on. The process ends where a file takes too long: build
    it again, and that file is passed over. A finished shard is built again where a clip failed for a reason that is not
    the clip's (`error`), or has more time now.

    Raises:
      OSError: its records cannot be written, or a file that was there when the build began is not there any more.
    """
    job = _job_of(shard)
    report = report_of(shard)
    if report is not None and not _may_have_more(report, job):
        if not epath.Path(shard + contents.SUFFIX).exists():  # as of a dataset that was moved without its tables
            contents.write(shard)
        return len(job.clips)
    attempts = Attempts(f"{shard}.reading")
    # Two processes may be at work on one shard, where those of a killed build live on: each has its own file, and the
    # bytes are the same.
    partial = f"{shard}.{os.getpid()}.{uuid.uuid4().hex}.partial"
    with open(partial, "wb") as file:
        report = _write_records(file, job, attempts)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, shard)
    contents.write(shard)
    write_atomically(f"{shard}.json", json.dumps(dataclasses.asdict(report)))
    attempts.forget()
    return len(job.clips)


def timed_out(shard: str) -> int:
    """How many files of a shard that is being built were given up for the time they took."""
    return Attempts(f"{shard}.reading").timed_out


def _may_have_more(report: Report, job: Job) -> bool:
    more_time = job.time_limit_seconds > report.time_limit_seconds
    return "error" in report.reasons or (more_time and "timed_out" in report.reasons)


def _write_records(file: BinaryIO, job: Job, attempts: Attempts) -> Report:
    """Writes the records of a job: of each clip the first of its files that can be read."""
    num_bytes = built = whole_videos = 0
    refused, passed_over, reasons = {}, {}, set()
    for files in job.clips:
        complaints = []
        for located in files:
            try:
                data, whole = _serialized(located, job, attempts)
            except UnreadableClip as error:
                complaints.append(error)
                reasons.add(error.reason)
                continue
            tfrecord_file.write(file, data)
            num_bytes, built, whole_videos = num_bytes + len(data), built + 1, whole_videos + whole
            break
        clip_id, details = files[0].segment.clip_id, "; ".join(str(complaint) for complaint in complaints)
        if len(complaints) == len(files):
            refused[clip_id] = (complaints[0].reason, details)
        elif complaints:
            passed_over[clip_id] = details
    return Report(
        job.fingerprint, job.time_limit_seconds, num_bytes, built, whole_videos, refused, passed_over, sorted(reasons)
    )


def _serialized(located: Located, job: Job, attempts: Attempts) -> tuple[bytes, bool]:
    """The record of a clip from one of its files, and whether that is a whole video.

    Raises:
      UnreadableClip: with the reason; `error` is one that is not the file's.
      OSError: the file was there before and is not any more.
    """
    with attempts.at(located, job.time_limit_seconds):
        example, whole = _example(located, job.recipe)
    for box in example.get("boxes", ()):
        box["bbox"] = tfds.features.BBox(*box["bbox"])
    return job.recipe.serialized(example), whole


def _example(located: Located, recipe: Recipe) -> tuple[dict, bool]:
    path = located.file.path
    try:
        return record.make_record(located, recipe.labels, recipe.settings)
    except UnreadableClip as error:
        if error.reason == "missing":
            raise OSError(errno.ENOENT, "it was there before; are the clips still mounted?", path) from error
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever a file makes a codec do, the build goes on, and says so
        raise UnreadableClip(path, "error", f"{type(error).__name__}: {error}") from error


def _job_of(shard: str) -> Job:
    return pickle.loads(epath.Path(f"{shard}.job").read_bytes())
