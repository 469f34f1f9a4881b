"""The multisensory network of Owens and Efros (Audio-Visual Scene Analysis ..., ECCV 2018, section 3, figure 2).

Sizes are those of the released code, which the figure summarises. All that Sound compares itself with this network in
its table of AVC accuracies.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import check_config, image_input
from avlearn.models.layers.early_fusion import (
    CUBE,
    ONES,
    SOUND_CHANNELS,
    Fusion,
    SoundStream,
    VideoStream,
    scale_channels,
)
from avlearn.models.layers.residual import ResidualBlock
from avlearn.types import Batch, InputSpec, Outputs

loss = avc.logistic


class Model(nnx.Module):
    """A network that fuses frames and sound early and decides whether the sound belongs to this moment of the video.

    Layers: sound.conv1_1 ... sound.conv5_1; vision.conv1 ... vision.conv2_2; fusion; then residual blocks of
    3 x 3 x 3 on the fused map, conv3_1, conv3_2 (128 channels), conv4_1 (256, stride 2), conv4_2, conv5_1 (512, stride
    2 in space), conv5_2; and logit, on the mean over space and time.

    It cannot embed a frame or a sound alone, so it is not used for retrieval.

    Attributes:
      inputs: the inputs that the network takes.
    """

    # DIFFERS: (Owens and Efros 3) 25 frames per second, as in all our records, not 29.97; 4.2 s are 105 frames.
    # DIFFERS: (Owens and Efros 3) the sound is mono, as in all our records, not stereo.
    # DIFFERS: (Owens and Efros 3) batch normalisation with a scale, not batch renormalisation without.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Build the network.

        Args:
          config: the model section of the config (width, dtype, batch_norm_momentum, frame_scaling).
          inputs: the inputs that the network takes.
          rngs: source of the initial weights; not stored.

        Raises:
          ValueError: `inputs` has one frame or no waveform, or a config value is not allowed.
        """
        if inputs.frames < 2 or inputs.waveform_samples < 1:
            raise ValueError(
                f"multisensory takes frames and their waveform; inputs.frames is {inputs.frames} and "
                f"inputs.waveform_samples {inputs.waveform_samples} (the paper's 4.2 s: --config.inputs.frames=105 "
                "--config.inputs.waveform_samples=88200 --config.inputs.waveform_hz=21000)"
            )
        check_config(config)
        self.inputs = inputs
        self.frame_scaling = config.frame_scaling
        self.steps = -(-inputs.frames // 4)  # steps of the video stream at the fusion
        self.sound = SoundStream(config, rngs=rngs)
        self.vision = VideoStream(config, rngs=rngs)
        channels = {block: scale_channels(count, config) for block, count in {2: 64, 3: 128, 4: 256, 5: 512}.items()}
        self.fusion = Fusion(channels[2] + scale_channels(SOUND_CHANNELS["conv5_1"], config), config, rngs=rngs)
        before = 2 * self.fusion.half
        for block, strides in {3: ONES, 4: (2, 2, 2), 5: (1, 2, 2)}.items():
            for name, stride in ((f"conv{block}_1", strides), (f"conv{block}_2", ONES)):
                setattr(self, name, ResidualBlock(before, channels[block], CUBE, stride, config, rngs=rngs))
                before = channels[block]
        self.logit = nnx.Linear(before, 1, dtype=jnp.float32, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def image_features(
        self, frames: UInt8[Array, "batch frames height width 3"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """Return the video map before the fusion: for 4.2 s, 27 steps of 28 x 28 cells of 64 channels."""
        return self.vision(image_input(frames, self.frame_scaling))

    def audio_features(self, waveform: Float[Array, "batch samples"]) -> Float[Array, "batch steps channels"]:
        """Return the audio features of each step of the video before the fusion, 128 channels."""
        return self.sound(waveform, self.steps)

    def maps(
        self,
        image_features: Float[Array, "batch steps rows cols channels"],
        audio_features: Float[Array, "batch steps audio_channels"],
    ) -> Float[Array, "batch last_rows last_cols"]:
        """Return log-odds for each of the 7 x 7 cells of the last map, averaged over its steps, in float32."""
        x = self.fusion(image_features, audio_features)
        for name in ("conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2"):
            x = getattr(self, name)(x)
        return self.logit(x.astype(jnp.float32).mean(axis=1))[..., 0]

    def compare(
        self,
        image_features: Float[Array, "*#pairs steps rows cols channels"],
        audio_features: Float[Array, "*#pairs steps audio_channels"],
    ) -> Float[Array, "*pairs"]:
        """Return log-odds that the sound belongs to this moment, the mean over the cells; leading axes broadcast.

        Each pair is fused separately: from the fusion on, all b x b pairs of a batch of b are computed one by one.
        """
        pairs = jnp.broadcast_shapes(image_features.shape[:-4], audio_features.shape[:-2])
        image, audio = (
            jnp.broadcast_to(x, (*pairs, *x.shape[-axes:])).reshape(-1, *x.shape[-axes:])
            for x, axes in ((image_features, 4), (audio_features, 2))
        )
        return self.maps(image, audio).mean(axis=(1, 2)).reshape(pairs)

    def __call__(self, batch: Batch) -> Outputs:
        """Return log-odds that the sound is of this moment, and the map of cells that they average, in float32."""
        maps = self.maps(self.image_features(batch.frames), self.audio_features(batch.audio_inputs))
        return Outputs(logit=maps.mean(axis=(1, 2)), heat_map=maps)
