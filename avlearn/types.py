"""The types that the packages share: the inputs of a network, a batch, and the outputs."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

# A NumPy or JAX array, or only its shape and type.
Array = Any
Arrays = dict[str, np.ndarray]  # name to array; in an evaluation, each array has one row per pair

# Key in results.json that maps each further dataset (config.evaluation.also_on) to its evaluators' results.
ALSO_ON = "also_on"


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The inputs that a network takes and that the input pipeline provides.

    Attributes:
      frame_pixels: side of the square frame, pixels (224 in the papers).
      crop_fraction: side of the crop as a share of the stored frame's shorter side (224 / 256 in the papers);
        the crop is resized to `frame_pixels`.
      front_end: audio front end of the stored records, `l3` (48 kHz, 480-sample window, 240 hop) or `lvs`.
      columns: columns of log-spectrogram cut from a record: 200 (Objects that Sound) or 199 (Look, Listen and
        Learn), one second at a hop of 5 ms.
      bins: frequency bins of the stored log-spectrogram (257).
      pool: the cut is averaged over `pool` x `pool` cells, remainders dropped: 1 in the papers, 4 in miniature.
      frames: consecutive stored frames, centred on the time of the audio (AVE+MF: 25, one second); 1: a single frame
        without a time axis.
      flow_fields: fields of optical flow between consecutive frames, centred on the frame (AVE+OF: 10); 0: none.
      waveform_samples: samples of the stored waveform, centred like the audio (multisensory network); 0: none.
      waveform_hz: sample rate of the waveform; 0 without a waveform.
      classes: classes of the dataset, for a network that is trained on labels; 0: without labels.
    """

    frame_pixels: int = 224
    crop_fraction: float = 224 / 256
    front_end: str = "l3"
    columns: int = 200
    bins: int = 257
    pool: int = 1
    frames: int = 1
    flow_fields: int = 0
    waveform_samples: int = 0
    waveform_hz: int = 0
    classes: int = 0

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Return the shape of the frame: height, width, channels, preceded by the number of frames if above 1."""
        frame = (self.frame_pixels, self.frame_pixels, 3)
        return frame if self.frames == 1 else (self.frames, *frame)

    @property
    def flow_shape(self) -> tuple[int, int, int]:
        """Return the shape of the optical flow: height, width, channels (x and y of each field in turn)."""
        return (self.frame_pixels, self.frame_pixels, 2 * self.flow_fields)

    @property
    def spectrogram_shape(self) -> tuple[int, int]:
        """Return the shape of one log-spectrogram: columns (time), bins (frequency)."""
        return (self.columns // self.pool, self.bins // self.pool)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Pairs of one frame and one second of audio; the leading axes are `[batch]` or `[workers, batch_per_worker]`.

    Attributes:
      frames: RGB, 0 to 255; `[batch, frames, height, width, 3]` for networks that take several.
      log_spectrogram: natural log of power with the config's scaling; time first, then frequency.
      corresponds: whether frame and audio come from one moment of one video.
      video: fingerprint of the frame's video; clips with equal fingerprints are never paired as negatives.
      weight: 1 for a pair, 0 for padding.
      flow: optical flow in pixels of the stored frames, encoded by `optical_flow.to_images`; None if the network takes
        none.
      waveform: mono, full scale 1; None if the network takes none.
      labels: classes that sound in the frame's clip; None if the network is not supervised.
    """

    frames: UInt8[Array, "... height width 3"]
    log_spectrogram: Float[Array, "*batch columns bins"]
    corresponds: Bool[Array, "*batch"]
    video: Int[Array, "*batch"]
    weight: Float[Array, "*batch"]
    flow: UInt8[Array, "*batch height width flow_channels"] | None = None
    waveform: Float[Array, "*batch samples"] | None = None
    labels: Bool[Array, "*batch classes"] | None = None

    @property
    def image_inputs(self) -> tuple[Array, ...]:
        """Return the arguments of a network's `image_features` and `embed_image`: frames, and flow if present."""
        return (self.frames,) if self.flow is None else (self.frames, self.flow)

    @property
    def audio_inputs(self) -> Array:
        """Return the argument of a network's `audio_features`: the waveform if present, else the log-spectrogram."""
        return self.log_spectrogram if self.waveform is None else self.waveform


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of a network for a batch of pairs.

    Attributes:
      image_embedding: vector of each frame, compared by Euclidean distance in retrieval; None if the network fuses
        the modes before it has one (multisensory network).
      logit: log-odds that frame and audio correspond. For a two-way softmax this is the difference of the two logits,
        so softmax cross-entropy and the logistic loss on it are the same number. None if the network takes no audio
        (VGG16).
      audio_embedding: vector of each second of audio; None if the network takes no audio.
      heat_map: log-odds for each cell of the image (AVOL-Net); None if the network has no map.
    """

    image_embedding: Float[Array, "*batch dim"] | None = None
    logit: Float[Array, "*batch"] | None = None
    audio_embedding: Float[Array, "*batch dim"] | None = None
    heat_map: Float[Array, "*batch rows cols"] | None = None


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One row that an evaluator adds to the table of scores; its module lists them in `TABLE`.

    Attributes:
      name: key of the metric in the evaluator's results; a path such as `all/max_f1` for a nested metric.
      title: title of the row; `{k}` is replaced by the value of `k` in the results.
      baseline: path in the results' `baselines` to the baseline's value, or to a mapping that has the metric's name; or
        the name of another metric in the results.
      baseline_title: title of the baseline.
      further_items: key of a count in the results: items that this metric covers beyond `items`.
      decimals: decimals to show.
    """

    name: str
    title: str
    baseline: str
    baseline_title: str
    further_items: str | None = None
    decimals: int = 3


def per_evaluator(results: Mapping[str, Mapping]) -> Iterator[tuple[str, Mapping]]:
    """Yield each evaluator's name and results, first for the evaluation's dataset, then for the further ones.

    Args:
      results: content of a `results.json`.
    """
    for name, found in results.items():
        if name != ALSO_ON:
            yield name, found
    for further in results.get(ALSO_ON, {}).values():
        yield from further.items()
