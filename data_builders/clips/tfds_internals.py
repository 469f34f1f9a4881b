"""Wraps every private interface of TFDS that is used; `tfds_internals_test.py` names the versions that have them."""

import abc
import contextlib
import os
from collections.abc import Callable, Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from avlearn.devices import environment

__all__ = [
    "NonMatchingChecksumError",
    "ShardFilesBuilder",
    "TwoStageBuilder",
    "before_download",
    "expected_file",
    "manual_dir",
    "received_file",
    "serializer",
]


class ShardFilesBuilder(tfds.core.dataset_builder.FileReaderBuilder, skip_registration=True):
    """A builder that writes the shards itself; TFDS provides the command, the configs and the reading."""

    @abc.abstractmethod
    def write_dataset(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
    ) -> None:
        """Write the shards to `data_path`, which TFDS renames to the dataset's folder, and set the splits of `info`."""

    @abc.abstractmethod
    def clean_up(self) -> None:
        """Remove the temporary files of the build; called when the dataset's folder is in place."""

    def filename_template(self, split: str) -> tfds.core.ShardedFileTemplate:
        """Return the template of the shards' file names."""
        return self._get_filename_template(split)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        self.write_dataset(dl_manager, download_config)

    def _post_download_and_prepare_hook(self) -> None:
        self.clean_up()


class TwoStageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that adds files to the shards that TFDS wrote, before the dataset's folder is in place."""

    def download_and_prepare(self, **kwargs) -> None:
        """Build the dataset."""
        environment.escape_output()
        super().download_and_prepare(**kwargs)

    @abc.abstractmethod
    def complete_dataset(self) -> None:
        """Add files to `data_path`; the splits of `info` are set."""

    def _download_and_prepare(self, *args, **kwargs) -> None:
        super()._download_and_prepare(*args, **kwargs)
        self.complete_dataset()


def manual_dir(dl_manager: tfds.download.DownloadManager) -> os.PathLike | None:
    """Return the folder that `--manual_dir` names; None if it is not given. TFDS's own property checks its content."""
    return dl_manager._manual_dir


def expected_file(dl_manager: tfds.download.DownloadManager, url: str) -> tfds.download.checksums.UrlInfo | None:
    """Return the recorded size and checksum of a download; None if none is recorded."""
    return dl_manager._url_infos.get(url)


def received_file(dl_manager: tfds.download.DownloadManager, url: str) -> tfds.download.checksums.UrlInfo:
    """Return the size and checksum of what was downloaded."""
    return dl_manager._recorded_url_infos[url]


@contextlib.contextmanager
def before_download(dl_manager: tfds.download.DownloadManager, check: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the address of each file that is downloaded in the context, unless it is in the cache."""
    download = dl_manager._download

    def checked(resource):
        check(resource.url)
        return download(resource)

    dl_manager._download = checked
    try:
        yield
    finally:
        dl_manager._download = download


def serializer(features: tfds.features.FeaturesDict) -> ExampleSerializer:
    """Return a serializer of encoded examples to `tf.train.Example` protos, as TFDS's writers use it."""
    return ExampleSerializer(features.get_serialized_info())
