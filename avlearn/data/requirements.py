"""Does a built split hold what a network eats? Asked before the first batch, not found out in the midst of a run."""

import numpy as np
import tensorflow as tf
from jaxtyping import Int64

from avlearn.data import built_dataset, cut, graph, sample, schema
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.types import InputSpec


def fits(
    split: built_dataset.Split,
    inputs: InputSpec,
    offsets_ms: Int64[np.ndarray, " offsets"] = sample.ALIGNED_MS,
    *,
    on_grid: bool = True,
) -> None:
    """Compares what is stored with what a network eats, and tries whether the first clip is long enough.

    Args:
      split: an open one.
      inputs: what the network eats.
      offsets_ms: of the sound from what is seen, one of which has to fit.
      on_grid: whether all sounds are cut on the grid of frame times.

    Raises:
      ValueError: as `stored`; or the clip is too short.
    """
    stored(split, inputs)
    if inputs.waveform_samples and not on_grid:
        raise ValueError("negatives='off_grid' cuts log-spectrograms only; use --config.data.negatives=on_grid")
    _first_clip(split, inputs, offsets_ms)


def stored(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Compares what is stored with what a network eats; looks at no clip.

    Raises:
      ValueError: says what is missing and which config of a builder has it.
    """
    sound(split, inputs)
    if inputs.classes not in (0, len(split.class_ids)):
        raise ValueError(
            f"{split.dataset} has {len(split.class_ids)} classes, the network is for {inputs.classes}; use "
            f"--config.inputs.classes={len(split.class_ids)}"
        )
    _flow_and_waveform(split, inputs)
    _same_span(split, inputs)


def sound(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Compares the log-spectrogram alone.

    Raises:
      ValueError: another front end, or other bins.
    """
    if split.front_end != inputs.front_end:
        raise ValueError(
            f"{split.dataset} holds log-spectrograms of the front end {split.front_end!r}, the network wants "
            f"{inputs.front_end!r}; use --config.inputs.front_end={split.front_end}, or a dataset built with the other"
        )
    if inputs.bins != schema.BINS:
        raise ValueError(
            f"bins={inputs.bins}, but every record has {schema.BINS}; use --config.inputs.bins={schema.BINS}"
        )


def _flow_and_waveform(split: built_dataset.Split, inputs: InputSpec) -> None:
    if inputs.flow_fields and "optical_flow" not in split.features:
        raise ValueError(
            f"{split.dataset} stores no optical flow, of which the network takes {inputs.flow_fields} fields. Build "
            "one that does, with the builder's option optical_flow=True: audioset/instruments_flow, synthetic_av/flow "
            "(--config.data.dataset=...)"
        )
    if inputs.waveform_samples and split.waveform_hz != inputs.waveform_hz:
        stored = f"the waveform at {split.waveform_hz} Hz" if split.waveform_hz else "no waveform"
        raise ValueError(
            f"{split.dataset} stores {stored}, the network takes it at {inputs.waveform_hz} Hz. Build one that has it, "
            f"with the builder's option waveform_hz={inputs.waveform_hz}: audioset/instruments_waveform (21000 Hz), "
            "synthetic_av/in_time (8000 Hz) (--config.data.dataset=...)"
        )


def _same_span(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Several frames have to last as long as the sound, to within one of them: they show the rate of the frames."""
    if inputs.frames == 1:
        return
    sound_seconds = inputs.columns * FRONT_ENDS[inputs.front_end].hop_samples
    sound_seconds /= FRONT_ENDS[inputs.front_end].sample_rate_hz
    if inputs.waveform_samples:
        sound_seconds = inputs.waveform_samples / inputs.waveform_hz
    rate = split.frames_per_second
    if abs(inputs.frames / rate - sound_seconds) > 1 / rate:
        raise ValueError(
            f"{split.dataset} holds {rate:g} frames per second, so that the network's {inputs.frames} frames do not "
            f"last as long as its {sound_seconds:g} s of sound. Build one with the option frames_per_second="
            f"{inputs.frames / sound_seconds:.4g}, or use --config.inputs.frames={rate * sound_seconds:.0f}"
        )


def _first_clip(split: built_dataset.Split, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> None:
    """Cuts the moment of the first clip, which is refused where it is too short."""
    records = split.records(cut.FEATURES, cut.large(inputs))

    def middle_frame(clips: tf.Tensor) -> tf.Tensor:
        return sample.moments_at(tf.constant([[0.5]], tf.float64), records(clips), inputs, offsets_ms).frame

    with split.explained():
        tf.data.Dataset.range(1).batch(1).map(graph.in_graph(middle_frame)).get_single_element()
