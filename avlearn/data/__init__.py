"""From built datasets to batches. TensorFlow is the reader, and says nothing unless something is wrong."""

import os

# It reads them when it is first imported. Without oneDNN: it is of no use here, and rounds by the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
