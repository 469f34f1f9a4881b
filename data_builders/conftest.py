"""Set-up of the tests of the builders."""

from avlearn.devices import environment

environment.set_variables()  # before TensorFlow is imported
