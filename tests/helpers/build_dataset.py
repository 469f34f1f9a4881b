"""Runs a builder in a test and reads the records and files that it wrote."""

import json
import re

import pytest
import tensorflow_datasets as tfds


def download_manager(manual_dir):
    """Return TFDS's download manager for a folder of clips and annotations."""
    return tfds.download.DownloadManager(download_dir=manual_dir / ".downloads", manual_dir=manual_dir)


def build(builder_class, config, manual_dir, data_dir, **download):
    """Build a config (a name or an object) from the clips and annotations in a folder; return the builder."""
    builder = builder_class(config=config, data_dir=data_dir)
    download_config = tfds.download.DownloadConfig(manual_dir=manual_dir, **download)
    builder.download_and_prepare(download_dir=data_dir / "downloads", download_config=download_config)
    return builder


def records(builder, split):
    """Return the records of a split by clip id; frames stay encoded."""
    kept = [name for name in ("frames", "optical_flow") if name in builder.info.features]
    dataset = builder.as_dataset(split=split, decoders={name: tfds.decode.SkipDecoding() for name in kept})
    return {record["clip_id"].decode(): record for record in tfds.as_numpy(dataset)}


def shard_bytes(builder):
    """Return the contents of the shards and of their tables of contents, by file name."""
    return {path.name: path.read_bytes() for path in builder.data_path.glob("*tfrecord*")}


def coverage(builder):
    """Return the content of `coverage.json`."""
    return json.loads((builder.data_path / "coverage.json").read_text())


def counts(builder):
    """Return the expected and the built number of clips of each split, from `coverage.json`."""
    return {name: (split["expected"], split["built"]) for name, split in coverage(builder)["splits"].items()}


def check_refused(read, path, text, message):
    """Assert that a reader refuses an annotation file of this text with its name and the message."""
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path.name}{message}")):
        read(path)
