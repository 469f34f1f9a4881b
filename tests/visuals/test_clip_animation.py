"""Test the animation of heat maps: its images, and that a decoded file returns the images and audio written to it."""

import io

import av
import numpy as np
import pytest

from avlearn.visuals import clip_animation, heatmap_overlay

SIDE = clip_animation.SIDE_PIXELS


def decoded(content: bytes) -> tuple[list, np.ndarray, int]:
    """Decode images with their times, and samples with their rate."""
    with av.open(io.BytesIO(content)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"  # browsers play no other format
        images, blocks = [], []
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                images.append((frame.time, frame.to_ndarray(format="rgb24")))
            else:
                blocks.append(frame.to_ndarray()[0])
        return images, np.concatenate(blocks), container.streams.audio[0].rate


def sine(frequency_hz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_each_frame_is_next_to_its_heat_map():
    frames = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (40, 200)])
    maps = np.full((2, 4, 4), -20.0)
    maps[1, :, 2:] = 20.0
    images = clip_animation.side_by_side(frames, maps)
    assert images.shape == (2, SIDE, 2 * SIDE, 3)
    for number in range(2):
        np.testing.assert_array_equal(images[number, :, :SIDE], frames[number])
        np.testing.assert_array_equal(
            images[number, :, SIDE:], heatmap_overlay.overlay(frames[number], maps[number].astype(np.float32))
        )


def test_frames_are_resized():
    frames = np.zeros((1, 50, 50, 3), np.uint8)
    frames[:, :25] = 200
    images = clip_animation.side_by_side(frames, np.full((1, 2, 2), -20.0))
    assert images.shape == (1, SIDE, 2 * SIDE, 3)
    assert (images[0, SIDE // 4, [5, SIDE + 5]] == 200).all()
    assert (images[0, -SIDE // 4, [5, SIDE + 5]] == 0).all()


@pytest.mark.parametrize(("rate", "frames_per_second"), [(16_000, 5.0), (48_000, 25.0)])
def test_a_written_file_can_be_decoded(rate, frames_per_second):
    levels = np.linspace(20, 230, 10).astype(np.uint8)
    images = np.stack([np.full((64, 128, 3), level, np.uint8) for level in levels])
    seconds = 10 / frames_per_second
    content = clip_animation.mp4(images, frames_per_second, sine(1000, seconds + 1, rate), rate)
    images, samples, decoded_rate = decoded(content)
    assert [time for time, _ in images] == pytest.approx(np.arange(10) / frames_per_second, abs=1e-3)
    np.testing.assert_allclose([image.mean() for _, image in images], levels, atol=3)
    # The audio ends with the images, and keeps pitch and level.
    assert samples.size / decoded_rate == pytest.approx(seconds, abs=0.05)
    middle = samples[samples.size // 4 : 3 * samples.size // 4]
    peak_hz = np.abs(np.fft.rfft(middle)).argmax() * decoded_rate / middle.size
    assert peak_hz == pytest.approx(1000, abs=10)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


def test_audio_and_images_are_in_sync():
    """A click sounds when the image turns bright."""
    images = np.full((12, 32, 32, 3), 10, np.uint8)
    images[6] = 250
    waveform = np.zeros(48_000, np.float32)
    waveform[24_000:24_480] = sine(2000, 0.01, 48_000)
    images, samples, rate = decoded(clip_animation.mp4(images, 12.0, waveform, 48_000))
    (bright,) = [time for time, image in images if image.mean() > 128]
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    assert bright == pytest.approx(0.5)
    assert loud[0] / rate == pytest.approx(0.5, abs=0.03)


def test_a_long_animation_is_cut():
    images = np.zeros((30, 32, 32, 3), np.uint8)
    images, samples, rate = decoded(clip_animation.mp4(images, 2.0, np.zeros(16 * 16_000, np.float32), 16_000))
    assert len(images) == 2 * clip_animation.MAX_SECONDS
    assert samples.size / rate == pytest.approx(clip_animation.MAX_SECONDS, abs=0.05)
