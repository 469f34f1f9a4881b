"""The commands of `avlearn`, and the modes of `avlearn.main` that do not train; one file each."""
