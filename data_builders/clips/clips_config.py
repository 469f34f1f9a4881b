"""The config that the builders of media files share."""

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_builders.clips import record

KINDS = {
    float: ((int, float), "a number"),
    int: (int, "a whole number"),
    bool: (bool, "true or false"),
    str: (str, "quoted text"),
    Sequence[str]: ((list, tuple), "a list of quoted texts"),
}


@dataclasses.dataclass
class ClipsConfig(tfds.core.BuilderConfig):
    """Keys that a user may set for any builder of media files; see `data_builders.clips.record.Settings`.

    Attributes:
      frames_per_second, short_side, front_end, optical_flow, waveform_hz, min_seconds, max_seconds, drop: settings of
        the records.
      min_coverage: the build fails if a split has a smaller share of the clips that its annotations name.
      max_clips_per_split: number of clips to build of each split, the first ones by a hash of their ids; 0: all.
      time_limit_seconds: a file whose record takes longer is skipped, and its process replaced.
    """

    frames_per_second: float = 25
    short_side: int = 256
    front_end: str = "l3"
    optical_flow: bool = False
    waveform_hz: int = 0
    min_seconds: float = 2.0
    max_seconds: float = 60.0
    drop: Sequence[str] = ("silent_audio",)
    min_coverage: float = 0.0
    max_clips_per_split: int = 0
    time_limit_seconds: float = 600.0

    def __new__(cls, *arguments, **values):
        """Refuse unknown keys, which a user may have mistyped in `--config='{...}'`.

        Raises:
          ValueError: the message names the key, the nearest known one and all known ones.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in [key for key in values if key not in known]:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(f"a config has no key {key!r}{hint}. Its keys are name, {', '.join(user_keys(cls))}")
        return super().__new__(cls)

    def settings(self, *, sound_only: bool = False) -> record.Settings:
        """Return the settings of the records.

        Raises:
          ValueError: a value that is not allowed.
        """
        self._check_kinds()
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage={self.min_coverage}: it must be between 0 and 1")
        if self.max_clips_per_split < 0:
            raise ValueError(f"max_clips_per_split={self.max_clips_per_split}: it must be 0 (all) or more")
        if not 1 <= self.time_limit_seconds < math.inf:
            raise ValueError(f"time_limit_seconds={self.time_limit_seconds}: it must be finite, and 1 or more")
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(record.Settings)
            if field.name != "sound_only"
        }
        return record.Settings(**{**values, "drop": tuple(self.drop)}, sound_only=sound_only)

    def _check_kinds(self):
        if not (isinstance(self.name, str) and re.fullmatch(r"\w[\w.-]*", self.name)):
            raise ValueError(f"name={self.name!r}: it must be quoted text that consists of letters, digits and _ . -")
        for field in dataclasses.fields(self):
            if field.name not in user_keys(self):
                continue
            value, (allowed, words) = getattr(self, field.name), KINDS[field.type]
            right = isinstance(value, allowed) and (field.type is bool or not isinstance(value, bool))
            if not right or (isinstance(value, list | tuple) and not all(isinstance(each, str) for each in value)):
                raise ValueError(f"{field.name}={value!r}: it must be {words}")


def user_keys(config: tfds.core.BuilderConfig | type[tfds.core.BuilderConfig]) -> list[str]:
    """Return the fields of a config that a user may set, except its name."""
    inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    return [field.name for field in dataclasses.fields(config) if field.name not in inherited]


def variants(*configs: ClipsConfig) -> list[ClipsConfig]:
    """Return each config unchanged (25 frames per second, as in the papers), and with 5 and with 1."""
    slower = {"5fps": (5, "5 frames per second"), "1fps": (1, "the mid-point of every second")}
    return [
        *configs,
        *(
            dataclasses.replace(
                config,
                name=f"{config.name}_{suffix}",
                frames_per_second=rate,
                description=f"{config.description}, {text}",
            )
            for config in configs
            for suffix, (rate, text) in slower.items()
        ),
    ]
