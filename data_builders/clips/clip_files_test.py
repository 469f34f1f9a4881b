"""The suffixes of media files."""

import re

from data_builders.clips import clip_files
from tests.helpers.paths import ROOT


def test_the_readme_lists_the_suffixes():
    (paragraph,) = re.findall(
        r"\*\*Suffixes\.\*\* (.*?)\n\n", (ROOT / "data_builders/README.md").read_text(), re.DOTALL
    )
    listed = [tuple(text.split()) for text in re.findall(r"`([^`]*)`", paragraph)]
    assert listed == [clip_files.VIDEO_SUFFIXES, clip_files.AUDIO_SUFFIXES]
