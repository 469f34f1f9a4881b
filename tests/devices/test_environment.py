"""The flag that is added to `XLA_FLAGS`, and its effect."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys

import pytest

from avlearn.devices import environment

ADDED = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"


@pytest.mark.parametrize(
    ("given", "jaxlib", "libtpu", "then"),
    [
        (None, "0.10.2", None, ADDED),
        ("--xla_dump_to=here", "0.10.0", None, f"--xla_dump_to=here {ADDED}"),
        ("--xla_cpu_experimental_ynn_fusion_type=", "0.10.2", None, "--xla_cpu_experimental_ynn_fusion_type="),
        ("flags.txt", "0.10.2", None, "flags.txt"),  # XLA reads the flags from this file
        (None, "0.11.2", None, ADDED),
        (None, "0.12.0.1", None, ADDED),
        # Versions that are not known to support the flag:
        ("--xla_dump_to=here", "0.13.0", None, "--xla_dump_to=here"),
        (None, "0.13.0", None, None),
        (None, "0.10.2", "here", None),
    ],
)
def test_flags_of_the_user_are_kept(monkeypatch, given, jaxlib, libtpu, then):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if given is not None:
        monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": jaxlib}.get)
    monkeypatch.setattr(importlib.util, "find_spec", {"libtpu": libtpu}.get)
    environment.set_xla_flags()
    assert os.environ.get("XLA_FLAGS") == then


@pytest.mark.skipif(not environment.is_flag_supported(), reason="the flag is not supported here")
def test_convolutions_are_xlas_own():
    """The shape is one that YNNPACK would take."""
    script = (
        "import jax, jax.numpy as jnp\n"
        "convolve = jax.jit(lambda x, k: jax.lax.conv_general_dilated(\n"
        "    x, k, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')))\n"
        "text = convolve.lower(jnp.ones((8, 56, 56, 64)), jnp.ones((3, 3, 64, 64))).compile().as_text()\n"
        "assert 'convolution(' in text\n"
        "print('ynn' in text)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    set_variables = "from avlearn.devices import environment; environment.set_variables()\n"
    for set_up, by_ynnpack in ((set_variables, "False"), ("import avlearn.models\n", "True")):
        command = [sys.executable, "-c", set_up + script]
        run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert run.stdout.strip() == by_ynnpack
