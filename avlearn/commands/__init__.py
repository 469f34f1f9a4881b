"""One file per command: those of `avlearn`, and the modes of `avlearn.main` that do not train."""
