"""The page about a built dataset: its sizes, what is missing, its classes and lengths, and clips to see and to hear."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int, UInt8

from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import histogram, page, playable_sound, spectrogram_picture, svg_chart
from avlearn.visuals.album import jpeg, mp3
from avlearn.visuals.boxes import DrawnBox

CLASSES_SHOWN = 40
FRAME_PIXELS = 320  # longest side
STRIP_PIXELS = (96, 640)  # height and width of a clip's log-spectrogram
MOST_SECONDS = 30  # of a clip's sound


@dataclasses.dataclass(frozen=True)
class SampleMoment:
    """A frame: its time in the clip, the flow to the next frame (grey, or None), and its boxes."""

    seconds: float
    frame: UInt8[np.ndarray, "height width 3"]
    flow: UInt8[np.ndarray, "flow_height width 1"] | None
    boxes: tuple[DrawnBox, ...]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A clip to show.

    Attributes:
      clip_id: its name.
      start_seconds: where it starts in its video.
      labels: names of its classes.
      log_spectrogram: of the whole clip, natural log of power.
      waveform: as it is stored, at the dataset's `waveform_hz`; None where none is.
      moments: frames, in order of time.
    """

    clip_id: str
    start_seconds: float
    labels: tuple[str, ...]
    log_spectrogram: Float32[np.ndarray, "columns bins"]
    waveform: Float32[np.ndarray, " samples"] | None
    moments: tuple[SampleMoment, ...]


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """A split.

    Attributes:
      clips, shards, num_bytes: its size.
      per_class: clips of each class, in label order.
      unlabelled: clips of no class.
      seconds: length to the number of clips that have it.
      frames: number of frames to the number of clips that have so many; empty where the dataset has no pictures.
      boxes, sounding_boxes, clips_with_boxes: of all clips together.
      samples: clips to show.
    """

    clips: int
    shards: int
    num_bytes: int
    per_class: Int[np.ndarray, " classes"]
    unlabelled: int
    seconds: histogram.Tally
    frames: histogram.Tally
    boxes: int
    sounding_boxes: int
    clips_with_boxes: int
    samples: tuple[Sample, ...]

    @property
    def hours(self) -> float:
        """Length of all clips together."""
        return sum(seconds * clips for seconds, clips in self.seconds.items()) / 3600


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A built dataset.

    Attributes:
      name: "builder/config".
      facts: what it says of itself, to be shown as it is.
      class_names: in label order.
      front_end: of its log-spectrograms.
      waveform_hz: of its stored waveforms; 0 where there are none.
      seed: that decided which clips are shown.
      coverage: content of its `coverage.json`; None where it has none.
      splits: by name.
    """

    name: str
    facts: Mapping[str, str]
    class_names: Sequence[str]
    front_end: str
    waveform_hz: int
    seed: int
    coverage: Mapping | None
    splits: Mapping[str, SplitSummary]


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """A class of the dataset: its name and its clips in each split, in the order of the splits."""

    name: str
    clips: tuple[int, ...]

    @property
    def total(self) -> int:
        """Clips in all splits."""
        return sum(self.clips)


@dataclasses.dataclass(frozen=True)
class Lack:
    """A reason for which clips were not built: how many in all splits, and what is known of some."""

    reason: str
    count: int
    examples: tuple[str, ...]


def write(folder: pathlib.Path, dataset: Dataset) -> pathlib.Path:
    """Writes the page to `folder/index.html`, and returns the file's path.

    Raises:
      ValueError: the folder cannot be written.
    """
    sounds: dict[str, str] = {}
    rows = class_rows(dataset)
    shown = [row for row in rows if row.total][:CLASSES_SHOWN]
    return page.write(
        folder,
        "dataset.html",
        title=dataset.name,
        dataset=dataset,
        colours={name: svg_chart.colour(number) for number, name in enumerate(dataset.splits)},
        lacks=lacks(dataset.coverage) if dataset.coverage is not None else (),
        rows=shown,
        more=[row for row in rows if row.total][CLASSES_SHOWN:],
        empty=[row for row in rows if not row.total],
        charts=_charts(dataset),
        lengths=_lengths(dataset),
        cards={
            name: [_card(dataset, clip, sounds) for clip in split.samples] for name, split in dataset.splits.items()
        },
        most_seconds=MOST_SECONDS,
        zip=zip,
        sounds=sounds,
    )


def class_rows(dataset: Dataset) -> list[ClassRow]:
    """Every class, the most frequent first; of equals the first in label order."""
    columns = [split.per_class.tolist() for split in dataset.splits.values()]
    rows = (
        [ClassRow(name, clips) for name, *clips in ()]
        if not columns
        else [
            ClassRow(name, clips) for name, clips in zip(dataset.class_names, zip(*columns, strict=True), strict=True)
        ]
    )
    return sorted(rows, key=lambda row: -row.total)


def lacks(coverage: Mapping) -> list[Lack]:
    """Why clips were not built, the most frequent reason first."""
    found: dict[str, list[Mapping]] = {}
    for split in coverage["splits"].values():
        for reason, entry in split["not_built"].items():
            found.setdefault(reason, []).append(entry)
    rows = [
        Lack(
            reason,
            sum(entry["count"] for entry in entries),
            tuple(text for entry in entries for text in (entry["examples"] or entry["clip_ids"]))[:3],
        )
        for reason, entries in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.count, row.reason))


def _charts(dataset: Dataset) -> dict[str, str]:
    """Heading to an `<svg>` element, which is empty where nothing varies."""
    splits = dataset.splits.items()
    charts = {
        "Length of the clips": histogram.histogram({n: s.seconds for n, s in splits}, "seconds", "seconds", 0.1),
    }
    if any(split.frames for _, split in splits):
        frames = {name: split.frames for name, split in splits}
        charts["Frames per clip"] = histogram.histogram(frames, "frames", "frames", 1)
    return charts


def _lengths(dataset: Dataset) -> dict[str, dict[str, tuple[float, ...]]]:
    """Quantity to split to its lowest, median and highest value."""
    tallies = {
        "seconds": {name: split.seconds for name, split in dataset.splits.items()},
        "frames": {name: split.frames for name, split in dataset.splits.items() if split.frames},
    }
    return {
        quantity: {name: tuple(histogram.quantile(tally, share) for share in (0, 0.5, 1)) for name, tally in of.items()}
        for quantity, of in tallies.items()
        if of
    }


def _card(dataset: Dataset, clip: Sample, sounds: dict[str, str]) -> dict:
    """A clip as the template shows it; its sound is added to the page's."""
    front_end = FRONT_ENDS[dataset.front_end]
    columns = MOST_SECONDS * front_end.sample_rate_hz // front_end.hop_samples
    if clip.waveform is None:
        waveform = playable_sound.waveform(clip.log_spectrogram[:columns], dataset.front_end)
        rate = front_end.sample_rate_hz
    else:
        rate = dataset.waveform_hz
        waveform = clip.waveform[: MOST_SECONDS * rate]
    key = str(len(sounds))
    sounds[key] = mp3(waveform, rate)
    strip = spectrogram_picture.picture(clip.log_spectrogram, *STRIP_PIXELS)
    return {
        "clip": clip,
        "seconds": front_end.seconds(len(clip.log_spectrogram)),
        "sound": key,
        "strip": jpeg(strip, max(STRIP_PIXELS)),
        "frames": [
            {
                "picture": jpeg(moment.frame, FRAME_PIXELS),
                "flow": None if moment.flow is None else jpeg(_beside(moment.flow), FRAME_PIXELS),
                "moment": moment,
                "objects": _objects(moment.boxes),
            }
            for moment in clip.moments
        ],
    }


def _beside(flow: UInt8[np.ndarray, "flow_height width 1"]) -> UInt8[np.ndarray, "height flow_width 3"]:
    """Flow with x beside y, which takes less room on the page than the stored x above y."""
    return np.repeat(np.concatenate(np.split(flow, 2, axis=0), axis=1), 3, axis=-1)


def _objects(boxes: Sequence[DrawnBox]) -> list[str]:
    """What the boxes of a frame show, each kind once, with its number where there are several."""
    kinds: dict[tuple[str, bool], int] = {}
    for box in boxes:
        kinds[box.label, box.sounding] = kinds.get((box.label, box.sounding), 0) + 1
    return [
        f"{f'{count} x ' if count > 1 else ''}{label}{'' if sounding else ' (silent)'}"
        for (label, sounding), count in kinds.items()
    ]
