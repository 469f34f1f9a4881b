"""A page about the dataset of a config, so that a person can look at what was built before anything learns from it."""

import json
import os
import pathlib

import numpy as np
from etils import epath
from jaxtyping import Int
from ml_collections import ConfigDict
from tqdm import tqdm

from avlearn.data import built_dataset, order, survey
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import choice, dataset_page
from avlearn.visuals.boxes import drawn

SAMPLES = 12  # clips of each split
CANDIDATES = 240  # they are chosen among the first so many in the order of the seed
SILENT_SECONDS = 2  # a count that takes longer shows its progress


def write(config: ConfigDict, workdir: pathlib.Path | None) -> str:
    """Looks at every split of the config's dataset and writes the page; returns its path, for the terminal.

    Args:
      config: of it, `data.dataset`, `data.data_dir` and the seed are used.
      workdir: the page is `workdir/inspect/index.html`; None: `inspect/<dataset>/index.html`.

    Raises:
      ValueError: the dataset is not built, a file of it is damaged, or the page cannot be written.
    """
    name, data_dir = config.data.dataset, config.data.data_dir
    folder = pathlib.Path("inspect") / name.replace("/", "_") if workdir is None else workdir / "inspect"
    splits = {
        split: built_dataset.open_split(name, data_dir, split) for split in built_dataset.split_names(name, data_dir)
    }
    first = next(iter(splits.values()))
    dataset = dataset_page.Dataset(
        name=name,
        facts=facts(first),
        class_names=first.class_names,
        front_end=first.front_end,
        waveform_hz=first.waveform_hz,
        seed=config.seed,
        coverage=coverage(first),
        splits={split: look_at(opened, config.seed) for split, opened in splits.items()},
    )
    return f"Dataset page: {dataset_page.write(folder, dataset)}"


def look_at(split: built_dataset.Split, seed: int) -> dataset_page.SplitSummary:
    """Counts a split, with a bar where it takes long, and fetches the clips to show."""
    with tqdm(
        total=len(split), desc=f"{split.dataset} {split.name}", unit="clip", smoothing=0.05, delay=SILENT_SECONDS
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
        samples=tuple(sample(split, number) for number in chosen(split, seed).tolist()),
    )


def chosen(split: built_dataset.Split, seed: int) -> Int[np.ndarray, " clips"]:
    """Numbers of the clips to show, by rule: nothing but the seed and the labels decides.

    Of the first `CANDIDATES` clips in the seed's order, those that `choice.by_class` takes; where there are fewer
    classes than are wanted, the next ones in that order besides.
    """
    candidates = order.epoch_order(len(split), seed, epoch=0)[:CANDIDATES]
    places = np.arange(len(candidates))
    picked = choice.by_class(survey.clip_labels(split, candidates), places, SAMPLES)
    return candidates[[*picked, *np.setdiff1d(places, picked)][:SAMPLES]]


def sample(split: built_dataset.Split, number: int) -> dataset_page.Sample:
    """A clip of a split, as the page wants it."""
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
                boxes=drawn(moment.boxes, moment.label, moment.sounding, split.class_names),
            )
            for moment in clip.moments
        ),
    )


def coverage(split: built_dataset.Split) -> dict | None:
    """What the builder wrote of the clips that it did and did not build; None where it wrote nothing.

    Raises:
      ValueError: the file cannot be read.
    """
    file = epath.Path(split.files[0]).parent / "coverage.json"
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged ({error}). {split.rebuild_hint}") from error


def facts(split: built_dataset.Split) -> dict[str, str]:
    """What a dataset says of itself, in words."""
    spec = FRONT_ENDS[split.front_end]
    stored = {
        "frames": f"{split.frames_per_second:g} a second" if "frames" in split.features else "none, sound only",
        "log-spectrogram": f"{split.front_end}: {spec.sample_rate_hz / 1000:g} kHz, "
        f"window {spec.window_samples}, hop {spec.hop_samples}",
        "optical flow": "stored" if "optical_flow" in split.features else "none",
        "waveform": f"{split.waveform_hz:,} Hz" if "waveform" in split.features else "none",
    }
    return {
        "version": split.version,
        "classes": f"{len(split.class_ids):,}",
        **stored,
        "directory": os.path.dirname(split.files[0]),
    }
