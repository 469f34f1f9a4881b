"""Fixtures of the tests of what builders share."""

import pytest

from tests.helpers.build_dataset import build
from tests.helpers.small_clips import SmallClips, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write twenty training clips and three test clips; one is broken, one has no file."""
    path = write_folder(tmp_path_factory.mktemp("clips") / "manual", 20, 3)
    (path / "a03.mp4").write_bytes(b"not a video")
    (path / "a04.mp4").unlink()
    return path


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """Build the dataset of these clips in the plain way."""
    return build(SmallClips, "plain", folder, tmp_path_factory.mktemp("data"))
