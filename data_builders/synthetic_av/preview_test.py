"""The preview writes readable clips and a contact sheet."""

import subprocess
import sys

import cv2
import numpy as np

from avlearn.media import decode
from data_builders.synthetic_av import preview


def test_command_writes_clips_and_a_contact_sheet(tmp_path):
    size = ("--height=64", "--width=80", "--seconds=1", "--frames_per_second=5")
    command = (sys.executable, "-m", "data_builders.synthetic_av.preview", "--clips=3", "--columns=2", *size)
    subprocess.run((*command, f"--output={tmp_path / 'clips'}"), check=True, capture_output=True)
    sheet = cv2.imread(str(tmp_path / "clips" / "contact_sheet.png"))
    assert sheet.shape == (2 * (64 + 24), 2 * 80, 3)
    assert (sheet[88:, 80:] == 255).all()  # the fourth tile stays empty
    clip = decode.read_clip(tmp_path / "clips" / "train_000002.mp4", frames_per_second=5, short_side=64)
    assert clip.frames.shape == (5, 64, 80, 3)


def test_sheet_keeps_reading_order():
    tiles = [np.full((2, 3, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = preview.sheet(tiles, 2)
    assert sheet[::2, ::3, 0].tolist() == [[10, 20], [30, 255]]
