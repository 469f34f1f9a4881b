"""Set-up of the builders' tests."""

from avlearn.devices import environment

environment.set_variables()  # before TensorFlow is imported
