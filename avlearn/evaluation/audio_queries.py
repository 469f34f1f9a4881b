"""Audio embeddings by the network of another run, for networks that take no audio."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from avlearn.build import build_network, config_of_run
from avlearn.evaluation import array_sources, collect
from avlearn.evaluation.collect import ArraySource
from avlearn.evaluation.forward_passes import ForwardPasses
from avlearn.evaluation.restoring import build_passes, restored
from avlearn.evaluation.unfinished import Keep
from avlearn.runs.checkpoint import Checkpoints
from avlearn.types import Arrays


@dataclasses.dataclass(frozen=True)
class AudioQueries:
    """The network of another run that embeds the audio; made by `build_audio_queries`.

    Attributes:
      name: name of the network.
      passes: its forward passes.
      checkpoints: checkpoints of the run; `config.evaluation.checkpoint` chooses one.
      sources: the evaluation's sources of pairs, with this network's inputs.
    """

    name: str
    passes: ForwardPasses
    checkpoints: Checkpoints
    sources: Mapping[str, ArraySource]

    def embed(self, which: str, arrays: Mapping[str, Arrays], keep: Keep) -> str:
        """Put this network's audio_embedding into the arrays of pairs; return a phrase for the results."""
        step, state = restored(self.passes, self.checkpoints, which)
        for pairing, source in self.sources.items():
            found = keep(f"sounds of {pairing}", functools.partial(source.collect, state))
            arrays[pairing]["audio_embedding"] = found["audio_embedding"]
        return f"sounds by {self.name}, step {step} of {self.checkpoints.directory}"


def build_audio_queries(
    config: ConfigDict, own: ForwardPasses, open_split: Callable, sources: Mapping[str, ArraySource]
) -> AudioQueries:
    """Build the network of the run that `config.evaluation.sounds_from` names, for the pairs among the sources.

    Raises:
      ValueError: the run does not exist, or its network takes no audio.
    """
    directory = pathlib.Path(config.evaluation.sounds_from)
    other = config_of_run(config, directory)
    network = build_network(other)
    passes = build_passes(other, network, own.mesh, own.preemption)
    if "audio_embedding" not in passes.outputs:
        raise ValueError(f"{network.name} of {directory} takes no audio; sounds_from names a run whose network does.")
    passes = dataclasses.replace(passes, outputs=frozenset({"audio_embedding"}))
    paired = sources.keys() & {"all_positive", collect.FIT}
    return AudioQueries(
        name=network.name,
        passes=passes,
        checkpoints=Checkpoints(directory / "checkpoints", network=network.name, keep=1, read_only=True),
        sources={name: array_sources.SOURCES[name](other, passes, open_split) for name in sorted(paired)},
    )
