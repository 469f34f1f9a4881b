"""The multisensory network of Owens and Efros (Audio-Visual Scene Analysis ..., ECCV 2018, section 3, figure 2).

Sizes are those of the released code, which the figure summarises. All that Sound compares with it (its table of AVC
accuracies).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from avlearn.losses import avc
from avlearn.models.layers.conv_tower import check_config, image_input
from avlearn.models.layers.early_fusion import CUBE, ONCE, SOUND_CHANNELS, Fusion, SoundStream, VideoStream, scaled
from avlearn.models.layers.residual import ResidualBlock
from avlearn.types import Batch, InputSpec, Outputs

loss = avc.logistic


class Model(nnx.Module):
    """Does the sound belong to this moment of the video? Decided from features in which both are fused early.

    Layers: sound.conv1_1 ... sound.conv5_1; vision.conv1 ... vision.conv2_2; fusion; then residual blocks of
    3 x 3 x 3 on the fused map, conv3_1, conv3_2 (128 channels), conv4_1 (256, stride 2), conv4_2, conv5_1 (512, stride
    2 in space), conv5_2; and logit, on the mean over space and time.

    It has no embedding of a frame or of a sound alone, so nothing is retrieved with it.

    Attributes:
      inputs: what the network eats.
    """

    # DIFFERS: (Owens and Efros 3) 25 frames per second, not 29.97, as every record here; 4.2 s are 105 frames.
    # DIFFERS: (Owens and Efros 3) the sound is mono, as every record here, not stereo.
    # DIFFERS: (Owens and Efros 3) batch normalisation with a scale, not batch renormalisation without.
    def __init__(self, config: ConfigDict, inputs: InputSpec, *, rngs: nnx.Rngs):
        """Builds the network.

        Args:
          config: the model section of the config (width, dtype, batch_norm_momentum, frame_scaling).
          inputs: what the network eats.
          rngs: source of the initial weights; it is not kept.

        Raises:
          ValueError: `inputs` has one frame or no waveform, or a value of the config is not allowed.
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
        self.steps = -(-inputs.frames // 4)  # of the video where it meets the sound
        self.sound = SoundStream(config, rngs=rngs)
        self.vision = VideoStream(config, rngs=rngs)
        channels = {block: scaled(count, config) for block, count in {2: 64, 3: 128, 4: 256, 5: 512}.items()}
        self.fusion = Fusion(channels[2] + scaled(SOUND_CHANNELS["conv5_1"], config), config, rngs=rngs)
        before = 2 * self.fusion.half
        for block, strides in {3: ONCE, 4: (2, 2, 2), 5: (1, 2, 2)}.items():
            for name, stride in ((f"conv{block}_1", strides), (f"conv{block}_2", ONCE)):
                setattr(self, name, ResidualBlock(before, channels[block], CUBE, stride, config, rngs=rngs))
                before = channels[block]
        self.logit = nnx.Linear(before, 1, dtype=jnp.float32, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def image_features(
        self, frames: UInt8[Array, "batch frames height width 3"]
    ) -> Float[Array, "batch steps rows cols channels"]:
        """What is seen before the fusion: 27 steps of 28 x 28 cells of 64 channels for 4.2 s."""
        return self.vision(image_input(frames, self.frame_scaling))

    def audio_features(self, waveform: Float[Array, "batch samples"]) -> Float[Array, "batch steps channels"]:
        """What is heard in each step of the video before the fusion: 128 channels."""
        return self.sound(waveform, self.steps)

    def maps(
        self,
        image_features: Float[Array, "batch steps rows cols channels"],
        audio_features: Float[Array, "batch steps audio_channels"],
    ) -> Float[Array, "batch last_rows last_cols"]:
        """Log-odds for each of the last map's cells, 7 x 7 of 512 channels, the mean over its steps, in float32."""
        x = self.fusion(image_features, audio_features)
        for name in ("conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2"):
            x = getattr(self, name)(x)
        return self.logit(x.astype(jnp.float32).mean(axis=1))[..., 0]

    def compare(
        self,
        image_features: Float[Array, "*#pairs steps rows cols channels"],
        audio_features: Float[Array, "*#pairs steps audio_channels"],
    ) -> Float[Array, "*pairs"]:
        """Log-odds that the sound is of this moment, the mean over the cells; leading axes broadcast.

        Each pair is fused on its own, so that all pairs of a batch cost as much as so many pairs from there on.
        """
        pairs = jnp.broadcast_shapes(image_features.shape[:-4], audio_features.shape[:-2])
        image, audio = (
            jnp.broadcast_to(x, (*pairs, *x.shape[-axes:])).reshape(-1, *x.shape[-axes:])
            for x, axes in ((image_features, 4), (audio_features, 2))
        )
        return self.maps(image, audio).mean(axis=(1, 2)).reshape(pairs)

    def __call__(self, batch: Batch) -> Outputs:
        """Log-odds that the sound is of this moment, and for each cell, of which they are the mean, in float32."""
        maps = self.maps(self.image_features(batch.frames), self.audio_features(batch.waveform))
        return Outputs(logit=maps.mean(axis=(1, 2)), heat_map=maps)
