"""A film of heat maps: its pictures, and that picture and sound come out of the file as they went in."""

import io

import av
import numpy as np
import pytest

from avlearn.visuals import film, heatmap_overlay

SIDE = film.SIDE_PIXELS


def decoded(content: bytes) -> tuple[list, np.ndarray, int]:
    """Pictures with their times, samples and their rate."""
    with av.open(io.BytesIO(content)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"  # what browsers play
        shown, heard = [], []
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                shown.append((frame.time, frame.to_ndarray(format="rgb24")))
            else:
                heard.append(frame.to_ndarray()[0])
        return shown, np.concatenate(heard), container.streams.audio[0].rate


def sine(frequency_hz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_each_frame_stands_beside_the_map_of_its_moment():
    frames = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (40, 200)])
    maps = np.full((2, 4, 4), -20.0)
    maps[1, :, 2:] = 20.0
    shown = film.pictures(frames, maps)
    assert shown.shape == (2, SIDE, 2 * SIDE, 3)
    for number in range(2):
        np.testing.assert_array_equal(shown[number, :, :SIDE], frames[number])
        np.testing.assert_array_equal(
            shown[number, :, SIDE:], heatmap_overlay.overlay(frames[number], maps[number].astype(np.float32))
        )


def test_frames_are_brought_to_one_size():
    frames = np.zeros((1, 50, 50, 3), np.uint8)
    frames[:, :25] = 200
    shown = film.pictures(frames, np.full((1, 2, 2), -20.0))
    assert shown.shape == (1, SIDE, 2 * SIDE, 3)
    assert (shown[0, SIDE // 4, [5, SIDE + 5]] == 200).all()
    assert (shown[0, -SIDE // 4, [5, SIDE + 5]] == 0).all()


@pytest.mark.parametrize(("rate", "frames_per_second"), [(16_000, 5.0), (48_000, 25.0)])
def test_what_is_written_can_be_seen_and_heard(rate, frames_per_second):
    levels = np.linspace(20, 230, 10).astype(np.uint8)
    pictures = np.stack([np.full((64, 128, 3), level, np.uint8) for level in levels])
    seconds = 10 / frames_per_second
    content = film.mp4(pictures, frames_per_second, sine(1000, seconds + 1, rate), rate)
    shown, samples, heard_rate = decoded(content)
    assert [time for time, _ in shown] == pytest.approx(np.arange(10) / frames_per_second, abs=1e-3)
    np.testing.assert_allclose([picture.mean() for _, picture in shown], levels, atol=3)
    # The sound is cut where the pictures end, and keeps pitch and level.
    assert samples.size / heard_rate == pytest.approx(seconds, abs=0.05)
    middle = samples[samples.size // 4 : 3 * samples.size // 4]
    peak_hz = np.abs(np.fft.rfft(middle)).argmax() * heard_rate / middle.size
    assert peak_hz == pytest.approx(1000, abs=10)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


def test_sound_and_picture_keep_step():
    """A click at the moment at which the picture turns bright."""
    pictures = np.full((12, 32, 32, 3), 10, np.uint8)
    pictures[6] = 250
    waveform = np.zeros(48_000, np.float32)
    waveform[24_000:24_480] = sine(2000, 0.01, 48_000)
    shown, samples, rate = decoded(film.mp4(pictures, 12.0, waveform, 48_000))
    (bright,) = [time for time, picture in shown if picture.mean() > 128]
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    assert bright == pytest.approx(0.5)
    assert loud[0] / rate == pytest.approx(0.5, abs=0.03)


def test_a_long_film_is_cut():
    pictures = np.zeros((30, 32, 32, 3), np.uint8)
    shown, samples, rate = decoded(film.mp4(pictures, 2.0, np.zeros(16 * 16_000, np.float32), 16_000))
    assert len(shown) == 2 * film.MOST_SECONDS
    assert samples.size / rate == pytest.approx(film.MOST_SECONDS, abs=0.05)
