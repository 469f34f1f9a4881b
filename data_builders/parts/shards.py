"""Builds the shards of a dataset, each on its own: by a process per core, or by Apache Beam on any runner.

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
from collections.abc import Sequence
from typing import BinaryIO

import av
import cv2
import joblib
import numpy as np
import tensorflow_datasets as tfds
import tqdm
from etils import epath
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tensorflow_datasets.core import example_serializer

from avlearn.data import schema
from avlearn.media.decode import UnreadableClip
from data_builders.parts import record, tfrecord_file
from data_builders.parts.segments import Located

# A shard that other code left unfinished is built anew: another version of these modules (counted up by hand), or of a
# library that has a hand in the bytes.
FORMAT = (1, av.__version__, cv2.__version__, np.__version__)
ATTEMPTS = 3  # at a clip that takes its process down
RESTARTS = 10  # of the processes, without one more shard finished


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all shards of a build have in common.

    Attributes:
      settings: what a record holds.
      class_ids: class ids in label order.
    """

    settings: record.Settings
    class_ids: tuple[str, ...]

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of its records."""
        return features(self.settings, self.class_ids)

    def serialized(self, example: dict) -> bytes:
        """A record as it is written: the same bytes wherever it is built, where TFDS leaves their order to chance."""
        proto = self._serializer.get_tf_example(self.features.encode_example(example))
        return proto.SerializeToString(deterministic=True)

    @functools.cached_property
    def _serializer(self) -> example_serializer.ExampleSerializer:
        return example_serializer.ExampleSerializer(self.features.get_serialized_info())

    @functools.cached_property
    def labels(self) -> dict[str, int]:
        """Class id to label."""
        return {class_id: label for label, class_id in enumerate(self.class_ids)}


def features(settings: record.Settings, class_ids: Sequence[str] | None = None) -> tfds.features.FeaturesDict:
    """Features of the records of a builder's config; the classes may be named later."""
    return schema.features(
        class_ids,
        frames=not settings.sound_only,
        optical_flow=settings.optical_flow,
        waveform=settings.waveform_hz > 0,
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """What a shard is to hold; a file beside it, so that a plan of any size needs no memory.

    Attributes:
      segments: in order.
      recipe: how to make their records.
    """

    segments: tuple[Located, ...]
    recipe: Recipe

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that decides the shard's bytes."""
        parts = (FORMAT, schema.SCHEMA_VERSION, self.segments, self.recipe)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a shard.

    Attributes:
      fingerprint: of the shard.
      num_bytes: of the records, without framing.
      built: how many clips have a record.
      whole_videos: how many of these were cut from a whole video.
      refused: clip id to (reason, detail).
    """

    fingerprint: str
    num_bytes: int
    built: int
    whole_videos: int
    refused: dict[str, tuple[str, str]]


def write_job(shard: str, job: Job) -> None:
    """Says what the shard at a path is to hold."""
    epath.Path(f"{shard}.job").write_bytes(pickle.dumps(job))


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


def build(shard: str) -> int:
    """Builds a shard by its job, unless it is finished; returns how many segments it has.

    A clip that cannot be read is reported, and the build goes on. A shard with a clip that failed for a reason that is
    not the clip's (`error`) is built again when a build is.

    Raises:
      OSError: its records cannot be written, or a file that was there when the build began is not there any more.
    """
    job = _job_of(shard)
    report = report_of(shard)
    if report is not None and all(reason != "error" for reason, _ in report.refused.values()):
        return len(job.segments)
    # Two processes may be at work on one shard, where those of a killed build live on: each has its own file, and the
    # bytes are the same.
    partial = f"{shard}.{os.getpid()}.{uuid.uuid4().hex}.partial"
    with open(partial, "wb") as file:
        report = _write_records(file, shard, job)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, shard)
    _write_atomically(f"{shard}.json", json.dumps(dataclasses.asdict(report)))
    epath.Path(f"{shard}.reading").unlink(missing_ok=True)
    return len(job.segments)


def _write_records(file: BinaryIO, shard: str, job: Job) -> Report:
    """Writes the records of a job; notes what it is reading, so that a clip that ends the process is known."""
    built = num_bytes = whole_videos = 0
    refused = {}
    attempts = _attempts(shard)
    for located in job.segments:
        clip_id = located.segment.clip_id
        attempts[clip_id] = attempts.get(clip_id, 0) + 1
        if attempts[clip_id] > ATTEMPTS:
            refused[clip_id] = ("crashed", f"{located.file.path}: crashed: its process ended {ATTEMPTS} times")
            continue
        _write_atomically(f"{shard}.reading", json.dumps(attempts))
        data, whole = _serialized(located, job.recipe, refused)
        del attempts[clip_id]
        if data is not None:
            tfrecord_file.write(file, data)
            built, num_bytes, whole_videos = built + 1, num_bytes + len(data), whole_videos + whole
    return Report(job.fingerprint, num_bytes, built, whole_videos, refused)


def _attempts(shard: str) -> dict[str, int]:
    """How often reading a clip was begun by a process that then ended."""
    try:
        return json.loads(epath.Path(f"{shard}.reading").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def build_in_processes(shards: Sequence[str], clips: int, description: str) -> None:
    """Builds shards in a process per core, with a progress bar over so many clips.

    Raises:
      OSError: see `build`; or the processes are ended again and again.
    """
    finished, restarts = -1, 0
    while True:
        try:
            _run_processes(shards, clips, description)
        except TerminatedWorkerError:  # a clip that takes its codec down, or no memory
            before, finished = finished, sum(report_of(shard) is not None for shard in shards)
            restarts = 0 if finished > before else restarts + 1
            if restarts > RESTARTS:
                raise OSError(
                    "processes of the build are ended again and again, by lack of memory perhaps. Run it in fewer: "
                    "LOKY_MAX_CPU_COUNT=2 tfds build ...; finished shards are kept"
                ) from None
            tqdm.tqdm.write("A process of the build was ended; the build goes on with new ones.")
        else:
            return


def _run_processes(shards: Sequence[str], clips: int, description: str) -> None:
    # joblib's processes start without running the parent's main script again, which would be the whole of TFDS.
    pool = joblib.Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1)
    with tqdm.tqdm(total=clips, desc=description, unit="clip", smoothing=0.05) as bar:
        for count in pool(joblib.delayed(build)(shard) for shard in shards):
            bar.update(count)


def build_in_beam(shards: Sequence[str], runner, options) -> None:
    """Builds shards in an Apache Beam pipeline; their folder must be one that every worker of the runner reaches."""
    import apache_beam as beam

    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.Map(build)


def _serialized(located: Located, recipe: Recipe, refused: dict) -> tuple[bytes | None, bool]:
    path, clip_id = located.file.path, located.segment.clip_id
    try:
        example, whole = record.make_record(located, recipe.labels, recipe.settings)
    except UnreadableClip as error:
        if error.reason == "missing":
            raise OSError(errno.ENOENT, "it was there before; are the clips still mounted?", path) from error
        refused[clip_id] = (error.reason, str(error))
        return None, False
    except MemoryError:
        raise
    except Exception as error:  # whatever a file makes a codec do, the build goes on, and says so
        refused[clip_id] = ("error", f"{path}: {type(error).__name__}: {error}")
        return None, False
    for box in example.get("boxes", ()):
        box["bbox"] = tfds.features.BBox(*box["bbox"])
    return recipe.serialized(example), whole


def _job_of(shard: str) -> Job:
    return pickle.loads(epath.Path(f"{shard}.job").read_bytes())


def _write_atomically(path: str, text: str) -> None:
    partial = f"{path}.{os.getpid()}.partial"
    epath.Path(partial).write_text(text)
    os.replace(partial, path)
