"""Reads built datasets and turns them into batches."""
