import cv2
import numpy as np
import pytest
from painted_data import paint

from ray_advpose.data.images import BrokenImageError, image_size_px, read_bgr


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_size_agrees_with_the_pixels(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    paint(path, 0, (37, 21))
    assert image_size_px(path) == (37, 21)
    assert read_bgr(path).shape == (21, 37, 3)


def test_progressive_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert image_size_px(path) == (70, 50)
    assert read_bgr(path).shape == (50, 70, 3)


def test_orientation_tag_is_ignored(tmp_path):
    path = tmp_path / "a.jpg"
    paint(path, 0, (64, 32))
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + data[2:])
    assert cv2.imread(str(path)).shape == (64, 32, 3), "the tag is one that OpenCV follows by default"
    assert read_bgr(path).shape == (32, 64, 3)
    assert image_size_px(path) == (64, 32)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_a_cut_off_jpeg_is_broken(tmp_path, share, progressive):
    path = tmp_path / "a.jpg"
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BrokenImageError):
        read_bgr(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"not a picture"])
def test_other_broken_files(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert image_size_px(path) is None
    with pytest.raises(BrokenImageError):
        read_bgr(path)


def test_a_missing_file(tmp_path):
    assert image_size_px(tmp_path / "a.jpg") is None
    with pytest.raises(BrokenImageError, match="No such file"):
        read_bgr(tmp_path / "a.jpg")
