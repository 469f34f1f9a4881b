"""One file for each command: the modes of `main` that need no training, and `avlearn COMMAND`."""
