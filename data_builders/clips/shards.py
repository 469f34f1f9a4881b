"""Builds one shard of a dataset; `build_processes` distributes the shards.

A shard is a pure function of its segments and settings. It is finished once its report exists next to it; an
interrupted build resumes with the shards that have no report. TensorFlow is not imported here (see `tfrecord_file`).
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

# Versions of these modules (counted by hand) and of the libraries that affect the bytes of a shard. If one changes,
# shards of an unfinished dataset are built again.
FORMAT = (4, av.__version__, cv2.__version__, np.__version__)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings and labels that determine the records of a shard.

    Attributes:
      settings: settings of the records.
      labels: class id to label, for the classes of its clips only, since a dataset may have a class per clip.
    """

    settings: record.Settings
    labels: Mapping[str, int]

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of the records."""
        return features(self.settings, class_count=1 + max(self.labels.values(), default=0))

    def serialize(self, example: dict) -> bytes:
        """Serialize a record, deterministically, which TFDS does not."""
        proto = self._serializer.get_tf_example(self.features.encode_example(example))
        return proto.SerializeToString(deterministic=True)

    @functools.cached_property
    def _serializer(self) -> tfds_internals.ExampleSerializer:
        return tfds_internals.serializer(self.features)


def features(settings: record.Settings, class_count: int | None = None) -> tfds.features.FeaturesDict:
    """Return the features of the records of a builder's config; the classes may be named later."""
    return schema.features(
        None,
        class_count=class_count,
        frames=not settings.sound_only,
        optical_flow=settings.optical_flow,
        waveform=settings.waveform_hz > 0,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """The planned contents of a shard, stored in a file next to it, so that a large plan takes no memory.

    Attributes:
      clips: clips in order; for each, the files that may hold it, in the order to try them.
      recipe: recipe of their records.
      time_limit_seconds: a file whose record takes longer is skipped.
    """

    clips: tuple[tuple[Located, ...], ...]
    recipe: Recipe
    time_limit_seconds: float

    @classmethod
    def create(
        cls,
        clips: Sequence[tuple[Located, ...]],
        settings: record.Settings,
        labels: Mapping[str, int],
        time_limit_seconds: float,
    ) -> "Job":
        """Create a job with those of the dataset's labels that its clips need."""
        segments = [files[0].segment for files in clips]
        used = {label for segment in segments for label in (*segment.labels, *(box.label for box in segment.boxes))}
        recipe = Recipe(settings, {label: labels[label] for label in sorted(used)})
        return cls(tuple(clips), recipe, time_limit_seconds)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of everything that the shard's bytes depend on."""
        parts = (FORMAT, schema.SCHEMA_VERSION, self.clips, self.recipe)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of building a shard.

    Attributes:
      fingerprint: fingerprint of the job.
      time_limit_seconds: time limit of the job.
      num_bytes: size of the records, without framing.
      built: number of clips that have a record.
      whole_videos: number of these that were cut from a complete video.
      refused: clip id to (reason, detail).
      passed_over: clip id to the faults of the files before the one that it was built from.
      tracks: clip id to the tracks that were chosen, for files with several video or audio tracks.
      reasons: reasons why files were refused or passed over, each once.
    """

    fingerprint: str
    time_limit_seconds: float
    num_bytes: int = 0
    built: int = 0
    whole_videos: int = 0
    refused: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    passed_over: dict[str, str] = dataclasses.field(default_factory=dict)
    tracks: dict[str, str] = dataclasses.field(default_factory=dict)
    reasons: list[str] = dataclasses.field(default_factory=list)


def write_job(shard: str, job: Job) -> None:
    """Write the job of the shard at a path, before it is built."""
    epath.Path(f"{shard}.job").write_bytes(pickle.dumps(job))
    Attempts(f"{shard}.reading").reset()


def read_report(shard: str) -> Report | None:
    """Return the report of the shard at a path; None if the shard is unfinished, damaged or from another job."""
    if not (epath.Path(f"{shard}.json").exists() and epath.Path(shard).exists()):
        return None
    try:
        report = Report(**json.loads(epath.Path(f"{shard}.json").read_text()))
    except (json.JSONDecodeError, TypeError):
        return None
    size = report.num_bytes + tfrecord_file.FRAMING_BYTES * report.built
    complete = epath.Path(shard).stat().length == size
    return report if complete and report.fingerprint == _read_job(shard).fingerprint else None


def save_reports(paths: Sequence[str], file: str | os.PathLike) -> None:
    """Save the reports of finished shards in one file, which is kept with the dataset."""
    with open(file, "w") as lines:
        for path in paths:
            report = json.loads(epath.Path(f"{path}.json").read_text())
            lines.write(json.dumps({"shard": os.path.basename(path), "report": report}) + "\n")


def restore_reports(file: str | os.PathLike) -> None:
    """Restore the reports of shards from a file of `save_reports`, so that a later build keeps these shards."""
    with open(file) as lines:
        for entry in map(json.loads, lines):
            write_atomically(os.path.join(os.path.dirname(file), f"{entry['shard']}.json"), json.dumps(entry["report"]))


def build(shard: str) -> int:
    """Build a shard from its job, unless it is finished; return the number of clips in the job.

    A clip that cannot be read is reported, and the build continues. The process dies if a file takes too long; the next
    attempt skips that file. A finished shard is built again if a clip failed with an `error` or as `crashed`, which may
    not be the file's fault (the system may have killed its process), or if it timed out and now has more time.

    Raises:
      OSError: the records cannot be written, or a file has disappeared since the build began.
    """
    job = _read_job(shard)
    report = read_report(shard)
    if report is not None and not _worth_retrying(report, job):
        if not epath.Path(shard + contents.SUFFIX).exists():  # for example if only the shards were moved
            contents.write(shard)
        return len(job.clips)
    attempts = Attempts(f"{shard}.reading")
    # Processes of a killed build may still work on the same shard, so each writes its own file, with the same bytes.
    partial = f"{shard}.{os.getpid()}.{uuid.uuid4().hex}.partial"
    with open(partial, "wb") as file:
        report = _write_records(file, job, attempts)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, shard)
    contents.write(shard)
    write_atomically(f"{shard}.json", json.dumps(dataclasses.asdict(report)))
    attempts.delete()
    return len(job.clips)


def timed_out(shard: str) -> int:
    """Return the number of files of an unfinished shard that took too long."""
    return Attempts(f"{shard}.reading").timed_out


def _worth_retrying(report: Report, job: Job) -> bool:
    more_time = job.time_limit_seconds > report.time_limit_seconds
    return not {"error", "crashed"}.isdisjoint(report.reasons) or (more_time and "timed_out" in report.reasons)


def _write_records(file: BinaryIO, job: Job, attempts: Attempts) -> Report:
    """Write the records of a job, each from the first readable file of its clip."""
    num_bytes = built = whole_videos = 0
    refused, passed_over, tracks, reasons = {}, {}, {}, set()
    for files in job.clips:
        clip_id = files[0].segment.clip_id
        errors = []
        for located in files:
            try:
                data, source = _serialize(located, job, attempts)
            except UnreadableClip as error:
                errors.append(error)
                reasons.add(error.reason)
                continue
            tfrecord_file.write(file, data)
            num_bytes, built, whole_videos = num_bytes + len(data), built + 1, whole_videos + source.from_video
            if source.tracks:
                tracks[clip_id] = source.tracks
            break
        details = "; ".join(map(str, errors))
        if len(errors) == len(files):
            refused[clip_id] = (errors[0].reason, details)
        elif errors:
            passed_over[clip_id] = details
    return Report(
        job.fingerprint,
        job.time_limit_seconds,
        num_bytes,
        built,
        whole_videos,
        refused,
        passed_over,
        tracks,
        sorted(reasons),
    )


def _serialize(located: Located, job: Job, attempts: Attempts) -> tuple[bytes, record.Source]:
    """Return the record of a clip from one of its files, and what of the file it was made from.

    Raises:
      UnreadableClip: with the reason; `error` may not be the file's fault.
      OSError: the file has disappeared.
    """
    with attempts.reading(located, job.time_limit_seconds):
        example, source = _example(located, job.recipe)
    for box in example.get("boxes", ()):
        box["bbox"] = tfds.features.BBox(*box["bbox"])
    return job.recipe.serialize(example), source


def _example(located: Located, recipe: Recipe) -> tuple[dict, record.Source]:
    path = located.file.path
    try:
        return record.make_record(located, recipe.labels, recipe.settings)
    except UnreadableClip as error:
        if error.reason == "missing":
            raise OSError(errno.ENOENT, "the file has disappeared; are the clips still mounted?", path) from error
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever a codec does with a file, the build reports it and continues
        raise UnreadableClip(path, "error", f"{type(error).__name__}: {error}") from error


def _read_job(shard: str) -> Job:
    return pickle.loads(epath.Path(f"{shard}.job").read_bytes())
