"""Writes a page about the dataset of a config, for looking at a built dataset before training on it."""

import json
import os
import pathlib
import shlex

import numpy as np
from etils import epath
from jaxtyping import Int
from ml_collections import ConfigDict
from tqdm import tqdm

from avlearn.data import built_dataset, order, survey
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import clip_selection, dataset_page
from avlearn.visuals.boxes import frame_boxes

SAMPLES = 12  # clips to show from each split
CANDIDATES = 240  # number of shuffled clips to select the samples from
PROGRESS_BAR_DELAY_SECONDS = 2


def write(config: ConfigDict, workdir: pathlib.Path | None) -> str:
    """Write the page about the config's dataset; return a line for the terminal.

    Args:
      config: `data.dataset`, `data.data_dir` and `seed` are used.
      workdir: the page is `workdir/inspect/index.html`; None: `inspect/<dataset>/index.html`.

    Raises:
      ValueError: the dataset is not built, one of its files is damaged, or the page cannot be written.
    """
    name, data_dir = config.data.dataset, config.data.data_dir
    folder = pathlib.Path("inspect") / name.replace("/", "_") if workdir is None else workdir / "inspect"
    splits = {
        split: built_dataset.open_split(name, data_dir, split) for split in built_dataset.split_names(name, data_dir)
    }
    first = next(iter(splits.values()))
    dataset = dataset_page.Dataset(
        name=name,
        facts=describe(first),
        class_names=first.class_names,
        front_end=first.front_end,
        waveform_hz=first.waveform_hz,
        seed=config.seed,
        coverage=read_coverage(first),
        splits={split: summarise(opened, config.seed) for split, opened in splits.items()},
    )
    return f"Dataset page: {dataset_page.write(folder, dataset)}"


def summarise(split: built_dataset.Split, seed: int) -> dataset_page.SplitSummary:
    """Count the clips of a split, with a progress bar if it takes long, and read the sample clips."""
    with tqdm(
        total=len(split),
        desc=f"{split.dataset} {split.name}",
        unit="clip",
        smoothing=0.05,
        delay=PROGRESS_BAR_DELAY_SECONDS,
    ) as bar:
        counts = survey.count_split(split, bar.update)
    spec = FRONT_ENDS[split.front_end]
    return dataset_page.SplitSummary(
        clips=len(split),
        shards=len(split.files),
        num_bytes=counts.num_bytes,
        per_class=counts.per_class,
        unlabelled=counts.unlabelled,
        seconds={spec.seconds(columns): clips for columns, clips in counts.columns.items()},
        frames=counts.frames,
        boxes=counts.boxes,
        sounding_boxes=counts.sounding_boxes,
        clips_with_boxes=counts.clips_with_boxes,
        samples=tuple(read_sample(split, number) for number in select_samples(split, seed).tolist()),
    )


def select_samples(split: built_dataset.Split, seed: int) -> Int[np.ndarray, " clips"]:
    """Select the numbers of the clips to show, which depend on the seed and the labels only.

    The split is shuffled, and `clip_selection.one_per_class` selects from the first `CANDIDATES` clips. If there are
    too few classes, the next clips in the shuffled order fill the remaining places.
    """
    candidates = order.epoch_order(len(split), seed, epoch=0)[:CANDIDATES]
    rank = np.arange(len(candidates))
    selected = clip_selection.one_per_class(survey.clip_labels(split, candidates), rank, SAMPLES)
    return candidates[[*selected, *np.setdiff1d(rank, selected)][:SAMPLES]]


def read_sample(split: built_dataset.Split, number: int) -> dataset_page.Sample:
    """Read one clip for the page."""
    clip = survey.read_clip(split, number)
    return dataset_page.Sample(
        clip_id=clip.clip_id,
        start_seconds=clip.start_ms / 1000,
        labels=tuple(split.class_names[label] for label in clip.labels),
        log_spectrogram=clip.log_spectrogram,
        waveform=clip.waveform,
        moments=tuple(
            dataset_page.SampleMoment(
                seconds=moment.time_ms / 1000,
                frame=moment.frame,
                flow=moment.flow,
                boxes=frame_boxes(moment.boxes, moment.label, moment.sounding, split.class_names),
            )
            for moment in clip.moments
        ),
    )


def read_coverage(split: built_dataset.Split) -> dict | None:
    """Read the builder's `coverage.json`, which lists the clips that it did and did not build; None if absent.

    Raises:
      ValueError: the file cannot be read.
    """
    file = epath.Path(split.files[0]).parent / "coverage.json"
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        hint = f"The dataset can be used without it: rm {shlex.quote(str(file))}"
        raise ValueError(f"{file} is damaged ({error}). {hint}") from error


def describe(split: built_dataset.Split) -> dict[str, str]:
    """Summarise a dataset: label to text."""
    spec = FRONT_ENDS[split.front_end]
    stored = {
        "frames": f"{split.frames_per_second:g} per second" if "frames" in split.features else "none, audio only",
        "log-spectrogram": f"{split.front_end}: {spec.sample_rate_hz / 1000:g} kHz, "
        f"window {spec.window_samples} samples, hop {spec.hop_samples}",
        "optical flow": "stored" if "optical_flow" in split.features else "none",
        "waveform": f"{split.waveform_hz:,} Hz" if "waveform" in split.features else "none",
    }
    return {
        "version": split.version,
        "classes": f"{len(split.class_ids):,}",
        **stored,
        "directory": os.path.dirname(split.files[0]),
    }
