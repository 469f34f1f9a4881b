"""What tests of the builders' parts share."""

import pytest

from tests.helpers.build_dataset import build
from tests.helpers.small_clips import SmallClips, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty training clips and three test clips; one of them broken, one without its file."""
    path = write_folder(tmp_path_factory.mktemp("clips") / "manual", 20, 3)
    (path / "a03.mp4").write_bytes(b"not a film")
    (path / "a04.mp4").unlink()
    return path


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """The dataset of these clips, as a plain build makes it."""
    return build(SmallClips, "plain", folder, tmp_path_factory.mktemp("data"))
