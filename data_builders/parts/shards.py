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
from collections.abc import Sequence

import joblib
import tensorflow_datasets as tfds
import tqdm
from etils import epath
from tensorflow_datasets.core import example_serializer

from avlearn.data import schema
from avlearn.media.decode import UnreadableClip
from data_builders.parts import record, tfrecord_file
from data_builders.parts.plan import Located

FORMAT = 1  # a shard that an older form of this code left unfinished is built anew


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
      built: ids of the clips that have a record, in order.
      whole_videos: how many of these were cut from a whole video.
      refused: clip id to (reason, detail).
    """

    fingerprint: str
    num_bytes: int
    built: list[str]
    whole_videos: int
    refused: dict[str, tuple[str, str]]


def write_job(shard: str, job: Job) -> None:
    """Says what the shard at a path is to hold."""
    try:
        epath.Path(f"{shard}.job").write_bytes(pickle.dumps(job))
    except OSError as error:
        raise _unwritable(shard, error) from error


def report_of(shard: str) -> Report | None:
    """The report of the shard at a path; None where it is not finished, or was made for another job."""
    if not (epath.Path(f"{shard}.json").exists() and epath.Path(shard).exists()):
        return None
    try:
        report = Report(**json.loads(epath.Path(f"{shard}.json").read_text()))
    except (json.JSONDecodeError, TypeError):
        return None
    return report if report.fingerprint == _job_of(shard).fingerprint else None


def build(shard: str) -> int:
    """Builds the shard at a path by its job, unless it is finished; returns how many segments it has.

    A clip that cannot be read is reported, and the build goes on.

    Raises:
      OSError: its records cannot be written.
    """
    job = _job_of(shard)
    if report_of(shard) is not None:
        return len(job.segments)
    report = Report(job.fingerprint, 0, [], 0, {})
    try:
        partial = f"{shard}.partial"
        with epath.Path(partial).open("wb") as file:
            num_bytes = whole_videos = 0
            for segment, path, _ in job.segments:
                data, whole = _serialized(segment, path, job.recipe, report)
                if data is not None:
                    tfrecord_file.write(file, data)
                    report.built.append(segment.clip_id)
                    num_bytes += len(data)
                    whole_videos += whole
        report = dataclasses.replace(report, num_bytes=num_bytes, whole_videos=whole_videos)
        epath.Path(partial).replace(shard)
        _write_atomically(f"{shard}.json", json.dumps(dataclasses.asdict(report)))
    except OSError as error:
        raise _unwritable(shard, error) from error
    return len(job.segments)


def build_in_processes(shards: Sequence[str], clips: int, description: str) -> None:
    """Builds shards in a process per core, with a progress bar over so many clips."""
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


def _serialized(segment, path, recipe, report) -> tuple[bytes | None, bool]:
    try:
        example, whole = record.make_record(segment, path, recipe.labels, recipe.settings)
    except UnreadableClip as error:
        report.refused[segment.clip_id] = (error.reason, str(error))
        return None, False
    except Exception as error:  # whatever a file makes a codec do, the build goes on, and says so
        report.refused[segment.clip_id] = ("error", f"{path}: {type(error).__name__}: {error}")
        return None, False
    for box in example.get("boxes", ()):
        box["bbox"] = tfds.features.BBox(*box["bbox"])
    return recipe.serialized(example), whole


def _job_of(shard: str) -> Job:
    return pickle.loads(epath.Path(f"{shard}.job").read_bytes())


def _write_atomically(path: str, text: str) -> None:
    epath.Path(f"{path}.partial").write_text(text)
    epath.Path(f"{path}.partial").replace(path)


def _unwritable(path: str, error: OSError) -> OSError:
    reason = "the disk is full: make room" if error.errno == errno.ENOSPC else f"{error}: mend that"
    return OSError(
        f"cannot write {path}: {reason}, and run the same command again. Finished shards are kept in "
        f"{os.path.dirname(path)}"
    )
