"""Base class of the builders of media files, which turns annotations and clips into sharded records."""

import abc
import dataclasses
import itertools
import json
import os
import pathlib
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

import tensorflow_datasets as tfds

from avlearn.data import schema
from avlearn.data.contents import SUFFIX
from avlearn.devices import environment
from data_builders.clips import (
    annotation_sources,
    build_processes,
    clip_files,
    coverage,
    shards,
    stream_json,
    tfds_internals,
)
from data_builders.clips.clips_config import user_keys
from data_builders.clips.plan import Plan, shard_count
from data_builders.clips.segments import Segment
from data_builders.clips.workspace import UNFINISHED, Workspace, explain_disk_errors

REPORTS = "shard_reports.jsonl"  # with these, clips can be added to a finished dataset


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The contents of a dataset's annotation files.

    Attributes:
      splits: split to its segments.
      class_names: class id to display name, in label order.
      ontology: nodes that span the classes, with `id`, `name`, `child_ids`; empty for datasets without an ontology.
      refused: annotations that cannot be used, such as degenerate boxes: kind to a line for each, for `coverage.json`.
    """

    splits: Mapping[str, Iterable[Segment]]
    class_names: Mapping[str, str]
    ontology: Sequence[Mapping] = ()
    refused: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)


class ClipsBuilder(tfds_internals.ShardFilesBuilder, skip_registration=True):
    """Builds records from a folder of clips, shard by shard; a subclass reads the annotations.

    Attributes:
      SUFFIXES: suffixes of the media files.
      SOUND_ONLY: whether the files have only audio.
      TAKES_A_FILE: whether `--manual_dir` may name a single file.
    """

    SUFFIXES = clip_files.VIDEO_SUFFIXES
    SOUND_ONLY = False
    TAKES_A_FILE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = annotation_sources.MANUAL_DIR_HELP

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike | None = None,
        config: str | tfds.core.BuilderConfig | None = None,
        **kwargs,
    ):
        """Create the builder of a config, as TFDS does.

        Raises:
          ValueError: `data_dir` is a bucket (the message explains how to mount it), or the config is unknown.
        """
        annotation_sources.check_local("--data_dir", data_dir)
        if isinstance(config, str) and config.partition(":")[0] not in self.builder_configs:
            raise ValueError(
                f"{self.name} has no config {config!r}; it has {', '.join(self.builder_configs)}, and "
                'accepts your own: --config=\'{"name": "...", ...}\' (data_builders/README.md)'
            )
        super().__init__(data_dir=data_dir, config=config, **kwargs)

    @abc.abstractmethod
    def annotations(self, dl_manager: tfds.download.DownloadManager) -> Annotations:
        """Read the annotation files (see `annotation_sources.annotation_file`)."""

    def divided_again(self, outcomes: Mapping[str, Iterable[tuple[Segment, str | None, str]]]) -> Annotations | None:
        """Return other splits after a build, for which it is repeated; None if the splits are final.

        Args:
          outcomes: split to its segments, with the reason why a segment has no record (None: it has one).
        """
        del outcomes
        return None

    def _info(self) -> tfds.core.DatasetInfo:
        settings = self.builder_config.settings(sound_only=self.SOUND_ONLY)
        return self.dataset_info_from_configs(
            features=shards.features(settings),
            supervised_keys=None,
            metadata=schema.metadata(
                frames_per_second=0 if self.SOUND_ONLY else settings.frames_per_second,
                front_end=settings.front_end,
                waveform_hz=settings.waveform_hz,
                class_names=(),
                ontology=(),
            ),
        )

    def download_and_prepare(self, **kwargs) -> None:
        """Build the dataset; if it exists, only print what it contains: later clips do not change it.

        Raises:
          ValueError: it was built with other settings; the message names them.
        """
        environment.escape_output()
        if (self.data_path / "coverage.json").exists():
            self._check_existing()
        super().download_and_prepare(**kwargs)

    def write_dataset(self, dl_manager, download_config) -> None:
        """Build the shards in the workspace and link the finished ones into the dataset; see `ShardFilesBuilder`."""
        if download_config.max_examples_per_split is not None:
            values = {**self._user_values(), "name": f"{self.builder_config.name}_try", "max_clips_per_split": 100}
            raise ValueError(
                "--max_examples_per_split would make a part look like the complete dataset. Name your own config "
                f"instead: --config={shlex.quote(json.dumps(values))}"
            )
        if self.info.file_format != tfds.core.FileFormat.TFRECORD:
            raise ValueError(f"--file_format={self.info.file_format.value}: these datasets are built as tfrecord")
        target = pathlib.Path(self.data_path)  # a temporary folder, which TFDS renames when the dataset is complete
        workspace = Workspace(target.parent / str(self.version))
        with explain_disk_errors(workspace.folder):
            annotations = self.annotations(dl_manager)
            check_class_names(annotations.class_names)
            folder = annotation_sources.manual_dir(dl_manager, or_file=self.TAKES_A_FILE)
        with workspace as self._workspace, explain_disk_errors(workspace.folder):
            if (self._workspace.folder / REPORTS).exists():
                shards.restore_reports(self._workspace.folder / REPORTS)
            plan, paths = self._plan_and_build(annotations, folder, download_config)
            if (again := self.divided_again({split: plan.outcomes(split) for split in paths})) is not None:
                print("Some videos cannot be used; the others are divided into splits again.", flush=True)
                annotations = again
                plan, paths = self._plan_and_build(annotations, folder, download_config)
            self.info.features["labels"].feature.names = list(annotations.class_names)
            self.info.metadata.update(
                class_ids=list(annotations.class_names),
                class_names=list(annotations.class_names.values()),
                ontology=schema.ontology_nodes(annotations.ontology),
            )
            splits = self._coverage(plan, paths, annotations)
            self._publish(splits, plan, paths, annotations, target)

    def clean_up(self) -> None:
        """Remove the workspace."""
        self._workspace.remove()

    def _user_values(self) -> dict:
        """Return the config's fields that a user may set, with their values."""
        values = dataclasses.asdict(self.builder_config)
        return json.loads(json.dumps({key: values[key] for key in user_keys(self.builder_config)}))

    def _check_existing(self) -> None:
        again = f"mv {shlex.quote(str(self.data_path))} {shlex.quote(f'{self.data_path}{UNFINISHED}')}"
        try:
            stored = json.loads((self.data_path / "coverage.json").read_text())
        except ValueError as error:
            raise ValueError(
                f"{self.data_path / 'coverage.json'} is damaged ({error}). To write it again, move the dataset and run "
                f"the command again, which keeps the shards: {again}"
            ) from error
        used = stored.get("config", {})
        for key, value in self._user_values().items():
            if used.get(key, value) != value:
                raise ValueError(
                    f"{self.data_path} was built with {key}={used[key]!r}, but this config has {value!r}. Give it "
                    f'another name: --config=\'{{"name": "...", ...}}\''
                )
        splits = stored["splits"].values()
        built, expected = (sum(split[key] for split in splits) for key in ("built", "expected"))
        print(
            f"{self.info.full_name} exists, with {built:,} of {expected:,} clips (coverage.json) and is not changed. "
            f"To add later clips, move it and run the command again: {again}",
            flush=True,
        )

    def _plan_and_build(
        self, annotations: Annotations, folder: pathlib.Path, download_config: tfds.download.DownloadConfig
    ) -> tuple[Plan, dict[str, list[str]]]:
        """Build the shards; return the plan with their outcomes, and the paths of each split's shards."""
        plan = self._plan(annotations, folder)
        paths = self._write_jobs(plan, annotations, download_config.num_shards)
        self._workspace.clean([path for each in paths.values() for path in each], os.path.basename(self.data_path))
        self._build(plan, paths, download_config)
        for split, split_paths in paths.items():
            for report in map(_read_report, split_paths):
                plan.refuse(split, report.refused)
                plan.note(split, "passed over", report.passed_over)
                plan.note(split, "tracks", report.tracks)
        return plan, paths

    def _plan(self, annotations: Annotations, folder: pathlib.Path) -> Plan:
        plan = Plan(folder, self.SUFFIXES, self._workspace.folder / "plan.sqlite")
        for split, segments in annotations.splits.items():
            plan.add(split, segments)
        plan.keep_first(self.builder_config.max_clips_per_split)
        if plan.skipped:
            some = ", ".join(itertools.islice(plan.skipped, 3))
            print(f"{len(plan.skipped):,} files or folders are not used (coverage.json), such as {some}", flush=True)
        plan.check_any_found()
        return plan

    def _write_jobs(self, plan, annotations, num_shards) -> dict[str, list[str]]:
        """Divide the plan into shards; return the paths of each split's shards."""
        settings = self.builder_config.settings(sound_only=self.SOUND_ONLY)
        labels = {class_id: label for label, class_id in enumerate(annotations.class_names)}
        paths = {}
        for split in annotations.splits:
            expected, found = plan.expected(split), plan.found(split)
            count = min(num_shards or shard_count(expected, found), expected) if found else 0
            template = self.filename_template(split)
            names = [template.relative_filepath(shard_index=i, num_shards=count) for i in range(count)]
            paths[split] = [os.fspath(self._workspace.folder / name) for name in names]
            for path, clips in zip(paths[split], plan.shards(split, count), strict=True):
                shards.write_job(
                    path, shards.Job.create(clips, settings, labels, self.builder_config.time_limit_seconds)
                )
        return paths

    def _build(self, plan, paths, download_config) -> None:
        if download_config.beam_runner or download_config.beam_options:
            every = [path for split_paths in paths.values() for path in split_paths]
            build_processes.build_in_beam(every, download_config.beam_runner, download_config.beam_options)
            return
        for split, split_paths in paths.items():
            build_processes.build_in_processes(split_paths, plan.found(split), f"{self.name} {split}")

    def _coverage(self, plan, paths, annotations) -> dict[str, dict]:
        """Return the coverage of every split as JSON; set the splits of the dataset's info."""
        result, infos = {}, []
        for split, split_paths in paths.items():
            counts = coverage.SplitCoverage(with_several_files=plan.with_several_files(split))
            num_bytes, lengths = 0, []
            for report in map(_read_report, split_paths):
                counts.cut_from_whole_videos += report.whole_videos
                num_bytes += report.num_bytes
                lengths.append(report.built)
            counts.not_built, counts.tracks = plan.not_built(split), plan.notes(split, "tracks")
            counts.passed_over = plan.notes(split, "passed over")
            for segment, reason, detail in plan.outcomes(split):
                counts.add(segment.labels, reason, detail)
            result[split] = counts.to_json(annotations.class_names)
            if counts.built:  # a split without any record appears only in the coverage
                infos.append(tfds.core.splits.SplitInfo(split, lengths, num_bytes, self.filename_template(split)))
        if infos:
            self.info.set_splits(tfds.core.splits.SplitDict(infos))
        return result

    def _publish(self, splits, plan, paths, annotations, target) -> None:
        """Write and print the coverage, and link the finished files into the dataset's folder."""
        folder = self._workspace.folder
        contents = {
            "dataset": self.info.full_name,
            "config": self._user_values(),
            "splits": splits,
            "refused_annotations": {
                kind: {"count": len(lines), "items": lines} for kind, lines in annotations.refused.items()
            },
            "skipped_files": plan.skipped,
        }
        with open(folder / "coverage.json", "w") as file:
            stream_json.write(contents, file)
        print(f"\n{coverage.table(splits)}\n", flush=True)
        _check_coverage(splits, self.builder_config.min_coverage, folder / "coverage.json")
        built = [path for split in self.info.splits for path in paths[split]]
        shards.save_reports(built, folder / REPORTS)
        names = [os.path.basename(path) for path in built]
        for name in ["coverage.json", REPORTS, *names, *(name + SUFFIX for name in names)]:
            self._workspace.publish(name, target)


def check_class_names(class_names: Mapping[str, str]) -> None:
    """Check that ids and names of classes are the same after TFDS has written and read them, one on each line.

    Raises:
      ValueError: names the class.
    """
    for name in (*class_names, *class_names.values()):
        if name.splitlines() != [name.strip()]:
            raise ValueError(
                f"{name!r} cannot be the name of a class: it is empty, has a line break, or begins or ends with a "
                "space. Rename the class; own_clips names classes after folders"
            )


def _read_report(path: str) -> shards.Report:
    report = shards.read_report(path)
    if report is None:
        raise RuntimeError(f"the shard {path} is not finished; run the command again")
    return report


def _check_coverage(splits: dict[str, dict], least: float, path: pathlib.Path) -> None:
    for name, split in splits.items():
        if split["share"] < least:
            raise ValueError(
                f"the split {name!r} covers {100 * split['share']:.1f} % of the clips that its annotations name, less "
                f"than min_coverage={least}; {path} lists what is missing. Add clips and run the same command again: "
                "finished shards are kept"
            )
    if not any(split["built"] for split in splits.values()):
        raise ValueError(f"no clip can be built; {path} lists the reasons")
