"""Videos: every frame is predicted as an image, and a damaged file keeps what can be decoded."""

import csv
import json
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.experiments.cli import main

av = pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")

FRAMES = 12
WIDTH, HEIGHT = 64, 48


def write_video(path, frames=FRAMES, codec="h264", **options):
    """Noise that gets brighter again and again, 10 pictures a second."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 3
        noise = np.random.default_rng(0).integers(0, 100, (HEIGHT, WIDTH, 3), np.uint8)
        for place in range(frames):
            frame = av.VideoFrame.from_ndarray(noise + np.uint8(10 * place % 150), format="rgb24")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", movflags="faststart")


def run(*arguments):
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def test_each_frame_is_predicted_as_an_image(study, clip, tmp_path):
    out = tmp_path / "out"
    assert run(study, clip, "-o", out, "--every", 5, "--uncertainty") == 0
    names = [f"clip/frame_{number:06d}" for number in (0, 5, 10)]
    described = json.loads((out / "predictions.json").read_text())
    assert [image["name"] for image in described] == names
    assert [image["seconds"] for image in described] == [0, 0.5, 1]
    for name in names:
        assert (out / "uncertainty" / f"{name}.png").exists()
    # the second one is predicted as the picture of the decoded frame is
    with av.open(str(clip)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    Image.fromarray(decoded[5]).save(tmp_path / "fifth.png")
    assert run(study, tmp_path / "fifth.png", "-o", tmp_path / "picture") == 0
    expected = read_ids(tmp_path / "picture" / "masks" / "fifth.png")
    assert np.array_equal(read_ids(out / "masks" / f"{names[1]}.png"), expected)
    rows = list(csv.DictReader((out / "areas.csv").open()))
    assert [float(row["seconds"]) for row in rows if row["class"] == "crater"] == [0, 0.5, 1]


def test_the_gallery_shows_frames_also_when_the_video_is_gone(study, clip, tmp_path):
    out = tmp_path / "out"
    assert run(study, clip, "-o", out, "--every", 5) == 0
    assert (out / "index.html").read_text().count('data-kind="mask"') == 3
    clip.unlink()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "other.png")
    assert run(study, tmp_path / "other.png", "-o", out, "--every", 5) == 0
    page = (out / "index.html").read_text()
    assert page.count("<figure>") == 4
    assert page.count('data-kind="mask"') == 1  # of the others there are the overlays


def test_overlays_are_a_video_of_the_same_times(study, clip, tmp_path):
    out = tmp_path / "out"
    assert run(study, clip, "-o", out) == 0
    with av.open(str(out / "videos" / "clip.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode()]
        assert container.streams.video[0].average_rate == 10
    assert [time for time, _ in frames] == pytest.approx([place / 10 for place in range(FRAMES)])
    with Image.open(out / "overlays" / "clip" / "frame_000007.jpg") as overlay:
        difference = np.asarray(overlay).astype(float) - frames[7][1]
    assert abs(difference.mean()) < 5


def test_an_interrupted_video_goes_on(study, clip, tmp_path, monkeypatch):
    from encoder_ablations.experiments.prediction import video_output

    out = tmp_path / "out"
    whole = video_output.predict_image
    seen = []
    limits = [4, FRAMES]

    def stopping(name, *arguments):
        if len(seen) == limits[0]:
            raise KeyboardInterrupt
        seen.append(name)
        whole(name, *arguments)

    monkeypatch.setattr(video_output, "predict_image", stopping)
    assert run(study, clip, "-o", out) == 130
    assert not (out / "videos").exists()
    first = (out / "masks" / "clip" / "frame_000003.png").stat().st_mtime_ns
    del limits[0]
    assert run(study, clip, "-o", out) == 0
    assert seen == [f"clip/frame_{number:06d}" for number in range(FRAMES)]
    assert (out / "masks" / "clip" / "frame_000003.png").stat().st_mtime_ns == first
    assert (out / "videos" / "clip.mp4").exists()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_truncated_video_keeps_what_was_decoded(study, suffix, tmp_path, capsys):
    clip = write_video(tmp_path / f"clip.{suffix}", frames=40, movflags="faststart")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    for _ in range(2):  # the second call finds all complete
        assert run(study, clip, "-o", out, "--every", 4) == 1
        error = capsys.readouterr().err.strip()
        assert f"clip.{suffix} is damaged" in error
        assert "\n" not in error
    described = json.loads((out / "predictions.json").read_text())
    assert 2 <= len(described) < 10
    assert (out / "videos" / "clip.mp4").exists()


def test_damaged_frames_are_named(study, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.mp4", codec="mpeg4", movflags="faststart")
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    clip.write_bytes(content)
    assert run(study, clip, "-o", tmp_path / "out") == 1
    assert "damaged" in capsys.readouterr().err


def test_files_that_are_no_videos_are_one_line(study, clip, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    files = [tmp_path / "text.mp4", tmp_path / "sound.mkv", clip]
    assert run(study, *files, "-o", tmp_path / "out", "--every", 6) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "text.mp4 cannot be read" in lines[0]
    assert "no video stream" in lines[1]
    assert len(list((tmp_path / "out" / "masks" / "clip").iterdir())) == 2
    assert run(study, clip, "-o", tmp_path / "other", "--every", 0) == 2
    assert "--every" in capsys.readouterr().err


def test_turned_videos_are_predicted_upright(tmp_path):
    """Phones write the pictures as the sensor stands, and say how they are to be turned."""
    from encoder_ablations.experiments.prediction.video_files import opened_video

    path = write_video(tmp_path / "phone.mp4", frames=2)
    with opened_video(path) as video:
        flat = next(video.frames()).image()
    content = bytearray(path.read_bytes())
    # the track's matrix, of 9 numbers of 32 bits, behind the track header's first 40 bytes
    place = content.index(b"tkhd") + 4 + 40
    matrix = [0, 65536, 0, -65536, 0, 0, HEIGHT * 65536, 0, 2**30]
    content[place : place + 36] = np.array(matrix, ">i4").tobytes()
    path.write_bytes(content)
    with opened_video(path) as video:
        upright = next(video.frames()).image()
    # this matrix turns clockwise by a right angle
    assert np.array_equal(upright, np.rot90(flat, -1))


def test_without_pyav_one_line_says_how_to_get_it(study, clip, tmp_path, capsys, monkeypatch):
    for name in ("video_files", "video_output"):
        module = f"encoder_ablations.experiments.prediction.{name}"
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(study, clip, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert "pip install av" in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
