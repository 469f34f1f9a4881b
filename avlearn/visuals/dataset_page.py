"""Writes the page about a built dataset: its sizes, missing clips, classes, lengths, and sample clips to play."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int, UInt8

from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.visuals import histogram, page, playable_audio, spectrogram_image, svg_chart
from avlearn.visuals.album import jpeg, mp3
from avlearn.visuals.boxes import FrameBox

CLASSES_SHOWN = 40
FRAME_PIXELS = 320  # longest side
STRIP_PIXELS = (96, 640)  # height and width of the image of a clip's log-spectrogram
MAX_SECONDS = 30  # audio of a clip that the page plays


@dataclasses.dataclass(frozen=True)
class SampleMoment:
    """A frame: its time in the clip, the optical flow to the next frame (grey image, or None), and its boxes."""

    seconds: float
    frame: UInt8[np.ndarray, "height width 3"]
    flow: UInt8[np.ndarray, "flow_height width 1"] | None
    boxes: tuple[FrameBox, ...]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A clip to show.

    Attributes:
      clip_id: id of the clip, as stored in the record.
      start_seconds: start of the clip in its video.
      labels: names of its classes.
      log_spectrogram: natural log of power of the complete clip.
      waveform: as stored, at the dataset's `waveform_hz`; None if the dataset stores none.
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
    """The counts and the sample clips of a split.

    Attributes:
      clips, shards, num_bytes: size of the split.
      per_class: number of clips of each class, in label order.
      unlabelled: number of clips without a class.
      seconds: length to the number of clips that have it.
      frames: number of frames to the number of clips that have it; empty if the dataset has no frames.
      boxes, sounding_boxes, clips_with_boxes: totals over all clips.
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
        """Total length of all clips."""
        return sum(seconds * clips for seconds, clips in self.seconds.items()) / 3600


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A built dataset.

    Attributes:
      name: "builder/config".
      facts: summary, label to text.
      class_names: names of the classes, in label order.
      front_end: audio front end of its log-spectrograms.
      waveform_hz: sample rate of its stored waveforms; 0 if it stores none.
      seed: the seed that selected the sample clips.
      coverage: content of its `coverage.json`; None if it has none.
      splits: name of each split to its summary.
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
    """A class: its name and its number of clips in each split, in the order of the splits."""

    name: str
    clips: tuple[int, ...]

    @property
    def total(self) -> int:
        """Number of clips in all splits."""
        return sum(self.clips)


@dataclasses.dataclass(frozen=True)
class MissingClips:
    """A reason why clips are missing: the number of clips in all splits, and some examples."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CardFrame:
    """A frame of a sample clip as the page shows it: data URIs of frame and flow, and texts for its boxes."""

    image: str
    flow: str | None
    moment: SampleMoment
    objects: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Card:
    """A sample clip as the page shows it.

    Attributes:
      clip: the sample clip.
      seconds: its length.
      sound_key: key of its audio on the page.
      audio: data URI.
      strip: data URI of its log-spectrogram.
      frames: in order of time.
    """

    clip: Sample
    seconds: float
    sound_key: str
    audio: str
    strip: str
    frames: tuple[CardFrame, ...]


def write(folder: pathlib.Path, dataset: Dataset) -> pathlib.Path:
    """Write the page to `folder/index.html` and return the file's path.

    Raises:
      ValueError: the folder cannot be written.
    """
    rows = class_rows(dataset)
    present = [row for row in rows if row.total]
    cards = {
        name: [_card(dataset, clip, f"{name}-{number}") for number, clip in enumerate(split.samples)]
        for name, split in dataset.splits.items()
    }
    return page.write(
        folder,
        "dataset.html",
        title=dataset.name,
        dataset=dataset,
        colours={name: svg_chart.colour(number) for number, name in enumerate(dataset.splits)},
        missing=missing_clips(dataset.coverage) if dataset.coverage is not None else (),
        rows=present[:CLASSES_SHOWN],
        more=present[CLASSES_SHOWN:],
        empty=[row for row in rows if not row.total],
        charts=_charts(dataset),
        lengths=_lengths(dataset),
        cards=cards,
        max_seconds=MAX_SECONDS,
        zip=zip,
        sounds={card.sound_key: card.audio for split_cards in cards.values() for card in split_cards},
    )


def class_rows(dataset: Dataset) -> list[ClassRow]:
    """Return every class, the most frequent first; equally frequent ones are in label order."""
    by_class = zip(*(split.per_class.tolist() for split in dataset.splits.values()), strict=True)
    rows = [ClassRow(name, clips) for name, clips in zip(dataset.class_names, by_class, strict=True)]
    return sorted(rows, key=lambda row: -row.total)


def missing_clips(coverage: Mapping) -> list[MissingClips]:
    """Return the reasons why clips are missing, the most frequent first."""
    found: dict[str, list[Mapping]] = {}
    for split in coverage["splits"].values():
        for reason, entry in split["not_built"].items():
            found.setdefault(reason, []).append(entry)
    rows = [
        MissingClips(
            reason,
            sum(entry["count"] for entry in entries),
            tuple(text for entry in entries for text in (entry["examples"] or entry["clip_ids"]))[:3],
        )
        for reason, entries in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.count, row.reason))


def _charts(dataset: Dataset) -> dict[str, str]:
    """Draw the charts: heading to an `<svg>` element, which is empty if all clips are equal."""
    seconds = {name: split.seconds for name, split in dataset.splits.items()}
    frames = {name: split.frames for name, split in dataset.splits.items()}
    charts = {"Length of the clips": histogram.histogram(seconds, "seconds", "seconds", 0.1)}
    if any(frames.values()):
        charts["Frames per clip"] = histogram.histogram(frames, "frames", "frames", 1)
    return charts


def _lengths(dataset: Dataset) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return the lowest, median and highest value of each quantity for each split."""
    tallies = {
        "seconds": {name: split.seconds for name, split in dataset.splits.items()},
        "frames": {name: split.frames for name, split in dataset.splits.items() if split.frames},
    }
    return {
        quantity: {
            name: tuple(histogram.quantile(tally, share) for share in (0, 0.5, 1)) for name, tally in by_split.items()
        }
        for quantity, by_split in tallies.items()
        if by_split
    }


def _card(dataset: Dataset, clip: Sample, sound_key: str) -> Card:
    """Encode a sample clip. Audio that is not stored is reconstructed from the log-spectrogram."""
    front_end = FRONT_ENDS[dataset.front_end]
    columns = MAX_SECONDS * front_end.sample_rate_hz // front_end.hop_samples
    if clip.waveform is None:
        waveform = playable_audio.waveform(clip.log_spectrogram[:columns], dataset.front_end)
        rate = front_end.sample_rate_hz
    else:
        rate = dataset.waveform_hz
        waveform = clip.waveform[: MAX_SECONDS * rate]
    frames = (
        CardFrame(
            image=jpeg(moment.frame, FRAME_PIXELS),
            flow=None if moment.flow is None else jpeg(_side_by_side(moment.flow), FRAME_PIXELS),
            moment=moment,
            objects=_objects(moment.boxes),
        )
        for moment in clip.moments
    )
    return Card(
        clip=clip,
        seconds=front_end.seconds(len(clip.log_spectrogram)),
        sound_key=sound_key,
        audio=mp3(waveform, rate),
        strip=jpeg(spectrogram_image.draw(clip.log_spectrogram, *STRIP_PIXELS), max(STRIP_PIXELS)),
        frames=tuple(frames),
    )


def _side_by_side(flow: UInt8[np.ndarray, "flow_height width 1"]) -> UInt8[np.ndarray, "height flow_width 3"]:
    """Place x to the left of y, which takes less space on the page than the stored x above y."""
    return np.repeat(np.concatenate(np.split(flow, 2, axis=0), axis=1), 3, axis=-1)


def _objects(boxes: Sequence[FrameBox]) -> tuple[str, ...]:
    """Describe the boxes of a frame, each kind once with its count."""
    kinds: dict[tuple[str, bool], int] = {}
    for box in boxes:
        kinds[box.label, box.sounding] = kinds.get((box.label, box.sounding), 0) + 1
    return tuple(
        f"{f'{count} x ' if count > 1 else ''}{label}{'' if sounding else ' (silent)'}"
        for (label, sounding), count in kinds.items()
    )
