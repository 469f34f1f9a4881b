"""Checks, before the first batch, that a split provides the inputs that a network needs."""

import numpy as np
import tensorflow as tf
from jaxtyping import Int64

from avlearn.data import built_dataset, cut, graph, sample, schema
from avlearn.media.log_spectrogram import FRONT_ENDS
from avlearn.types import InputSpec


def check_split(
    split: built_dataset.Split,
    inputs: InputSpec,
    offsets_ms: Int64[np.ndarray, " offsets"] = sample.ALIGNED_MS,
    *,
    on_grid: bool = True,
) -> None:
    """Check that a split stores a network's inputs and that its first clip is long enough.

    Args:
      split: an open split.
      inputs: inputs of the network.
      offsets_ms: offsets of the audio from the images; one of them must fit into the clip.
      on_grid: whether all audio cuts are on the grid of frame times.

    Raises:
      ValueError: see `check_features`; or the clip is too short.
    """
    check_features(split, inputs)
    if inputs.waveform_samples and not on_grid:
        raise ValueError("negatives='off_grid' cuts log-spectrograms only; use --config.data.negatives=on_grid")
    _check_first_clip(split, inputs, offsets_ms)


def check_features(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Check that a split stores a network's inputs; reads no clip.

    Raises:
      ValueError: an input is missing; the message names the config of a builder that has it.
    """
    check_spectrogram(split, inputs)
    if inputs.classes not in (0, len(split.class_ids)):
        raise ValueError(
            f"{split.dataset} has {len(split.class_ids)} classes, but the network has {inputs.classes}; use "
            f"--config.inputs.classes={len(split.class_ids)}"
        )
    _check_flow_and_waveform(split, inputs)
    _check_duration(split, inputs)


def check_spectrogram(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Check the log-spectrogram alone.

    Raises:
      ValueError: the front end or the number of bins differs.
    """
    if split.front_end != inputs.front_end:
        raise ValueError(
            f"{split.dataset} holds log-spectrograms of the front end {split.front_end!r}, but the network takes "
            f"{inputs.front_end!r}; use --config.inputs.front_end={split.front_end}, or a dataset built with the other"
        )
    if inputs.bins != schema.BINS:
        raise ValueError(
            f"bins={inputs.bins}, but every record has {schema.BINS}; use --config.inputs.bins={schema.BINS}"
        )


def _check_flow_and_waveform(split: built_dataset.Split, inputs: InputSpec) -> None:
    if inputs.flow_fields and "optical_flow" not in split.features:
        raise ValueError(
            f"{split.dataset} stores no optical flow, but the network takes {inputs.flow_fields} fields of it. Build a "
            "dataset that has it, with the builder's option optical_flow=True: audioset/instruments_flow, "
            "synthetic_av/flow (--config.data.dataset=...)"
        )
    if inputs.waveform_samples and split.waveform_hz != inputs.waveform_hz:
        stored = f"the waveform at {split.waveform_hz} Hz" if split.waveform_hz else "no waveform"
        raise ValueError(
            f"{split.dataset} stores {stored}, but the network takes it at {inputs.waveform_hz} Hz. Build a dataset "
            f"that has it, with the builder's option waveform_hz={inputs.waveform_hz}: audioset/instruments_waveform "
            "(21000 Hz), synthetic_av/in_time (8000 Hz) (--config.data.dataset=...)"
        )


def _check_duration(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Check that the frames last as long as the audio, to within one frame; otherwise the frame rate is wrong."""
    if inputs.frames == 1:
        return
    audio_seconds = inputs.columns * FRONT_ENDS[inputs.front_end].hop_samples
    audio_seconds /= FRONT_ENDS[inputs.front_end].sample_rate_hz
    if inputs.waveform_samples:
        audio_seconds = inputs.waveform_samples / inputs.waveform_hz
    rate = split.frames_per_second
    if abs(inputs.frames / rate - audio_seconds) > 1 / rate:
        raise ValueError(
            f"{split.dataset} holds {rate:g} frames per second, so that the network's {inputs.frames} frames do not "
            f"last as long as its {audio_seconds:g} s of audio. Build a dataset with the option frames_per_second="
            f"{inputs.frames / audio_seconds:.4g}, or use --config.inputs.frames={rate * audio_seconds:.0f}"
        )


def _check_first_clip(split: built_dataset.Split, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"]) -> None:
    """Cut the middle moment of the first clip, which raises an error if the clip is too short."""
    records = split.records(cut.FEATURES, cut.large_values(inputs))

    def middle_frame(clips: tf.Tensor) -> tf.Tensor:
        return sample.draw_moments(tf.constant([[0.5]], tf.float64), records(clips), inputs, offsets_ms).frame

    with split.readable_errors():
        tf.data.Dataset.range(1).batch(1).map(graph.without_autograph(middle_frame)).get_single_element()
