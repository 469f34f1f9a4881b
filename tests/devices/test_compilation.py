"""Compiled programs are cached, and a trace covers the right steps."""

import jax
import jax.numpy as jnp
import pytest

from avlearn.devices import compilation


@pytest.fixture
def cache_setting():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_cached_in_the_users_cache_directory_by_default(cache_setting, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    compilation.set_cache_directory(None)
    directory = jax.config.jax_compilation_cache_dir
    assert directory.startswith(f"{tmp_path}/avlearn/compiled/")
    compilation.set_cache_directory("elsewhere")
    assert jax.config.jax_compilation_cache_dir == "elsewhere"
    compilation.set_cache_directory(None)  # JAX's own setting takes precedence
    assert jax.config.jax_compilation_cache_dir == "elsewhere"
    compilation.set_cache_directory("")
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
    ("done", "steps", "traced"), [(0, 1000, [11, 15]), (500, 1000, [511, 515]), (0, 12, [8, 12]), (0, 2, [1, 2])]
)
def test_a_trace_covers_five_steps_after_ten_or_the_last_ones(done, steps, traced, monkeypatch, tmp_path):
    now, seen = [0], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda directory: seen.append(now[0]))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: seen.append(now[0]))
    trace = compilation.Trace(tmp_path, done, steps)
    for step in range(done + 1, steps + 1):
        now[0] = step
        trace.before(step)
        trace.after(step, jnp.zeros(()))
    assert seen == traced
