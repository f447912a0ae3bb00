"""Frames per second of `idn swap` on videos of moving faces, with the time of each part, memory, times and sound.

    python benchmarks/swap_video.py --weights STUDENT --source PHOTO --faces FOLDER --detector yunet_final.pth
        --encoder mobilefacenet --encoder-weights FILE [--runtimes torch onnx openvino] [--sizes 720 1080] [--long 10]
        [--jitter] [--keep FOLDER]

Draws a clip of faces of a folder that move, turn and grow over a drifting background, with a tone; swaps it with every
runtime, and prints what the command says. --long 10 also compares the peak memory with that of ten times the clip.
--jitter compares how much landmarks shake, with and without smoothing, with the clip's own (dlib, of the extra eval).
--keep FOLDER leaves the videos there, and takes clips that are there already.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

BASE = Fraction(1, 12800)
PAUSE = Fraction(1, 2)
"""Seconds between two repetitions of a clip: frames are decoded a little before they are shown."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "source", "faces", "detector", "encoder", "encoder-weights"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnx", "openvino"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[720, 1080], help="lines")
    parser.add_argument("--seconds", type=int, default=30, help="of the clip")
    parser.add_argument("--long", type=int, default=0, help="how often a second clip repeats the first, for the memory")
    parser.add_argument("--jitter", action="store_true")
    parser.add_argument("--crops", type=int, default=224, help="pixels of a face's crop")
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder that keeps the videos")
    return parser.parse_args()


def drawn(faces: list[Image.Image], background: np.ndarray, index: int, height: int) -> Image.Image:
    """One frame."""
    width = height * 16 // 9
    shift = index % 64
    frame = Image.fromarray(background[shift : shift + height, shift : shift + width])
    for number, face in enumerate(faces):
        t = index / 25 + 2 * number
        side = int(height * (0.42 + 0.08 * np.sin(t / 2)))
        turned = face.resize((side, side), Image.Resampling.BILINEAR).rotate(12 * np.sin(t), Image.Resampling.BILINEAR)
        middle = width * (number + 1) / (len(faces) + 1)
        place = (
            int(middle + 0.08 * width * np.sin(t * 1.3) - side / 2),
            int(height * (0.5 + 0.05 * np.cos(t)) - side / 2),
        )
        frame.paste(turned, place, disc(side))
    return frame


def disc(side: int) -> Image.Image:
    y, x = np.mgrid[:side, :side] / side - 0.5
    return Image.fromarray((np.clip((0.48 - np.hypot(x, y)) * 40, 0, 1) * 255).astype(np.uint8))


def write_clip(path: Path, photos: list[Path], height: int, seconds: int) -> None:
    """Moving faces and a tone, 25 frames a second, every third one a little late; nothing where it is there already."""
    import av

    if path.exists():
        return
    rng = np.random.default_rng(0)
    coarse = Image.fromarray((rng.random((9, 16, 3)) * 130 + 60).astype(np.uint8))
    background = np.asarray(coarse.resize((height * 16 // 9 + 64, height + 64), Image.Resampling.BICUBIC))
    faces = [Image.open(photo).convert("RGB") for photo in photos]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = height * 16 // 9, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = BASE
        tone = container.add_stream("aac", rate=44100)
        block = 0
        for index in range(25 * seconds):
            frame = av.VideoFrame.from_image(drawn(faces, background, index, height))
            frame.pts, frame.time_base = round((Fraction(index, 25) + Fraction(index % 3 == 2, 200)) / BASE), BASE
            container.mux(stream.encode(frame))
            while block * 1024 < (index + 1) * 44100 // 25:
                wave = (0.3 * np.sin(2 * np.pi * 440 * (np.arange(1024) + 1024 * block) / 44100)).astype(np.float32)
                sound = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
                sound.rate, sound.pts = 44100, 1024 * block
                container.mux(tone.encode(sound))
                block += 1
        container.mux(stream.encode(None))
        container.mux(tone.encode(None))


def repeat_clip(clip: Path, path: Path, times: int, seconds: int) -> None:
    """The same packets again and again, without encoding."""
    import av

    with av.open(str(path), "w") as container:
        with av.open(str(clip)) as source:
            streams = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        for turn in range(times):
            with av.open(str(clip)) as source:
                for packet in source.demux():
                    if packet.size and packet.pts * packet.time_base < seconds:
                        later = round(turn * (seconds + PAUSE) / packet.time_base)
                        packet.pts, packet.dts = packet.pts + later, packet.dts + later
                        packet.stream = streams[packet.stream_index]
                        container.mux(packet)


def pictures(path: Path) -> Iterator[torch.Tensor]:
    """The frames, (3, H, W) uint8 RGB."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()


def sound(path: Path) -> str:
    import av

    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size:
                digest.update(f"{packet.pts * packet.time_base}".encode() + bytes(packet))
    return digest.hexdigest()


def times(path: Path) -> list[Fraction]:
    import av

    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return sorted(packet.pts * packet.time_base for packet in packets if packet.size)


def swapped(
    given: argparse.Namespace, clip: Path, out: Path, runtime: str, smooth: bool = True
) -> tuple[float, float, float, str]:
    """Seconds, seconds of the processor, peak memory in MiB, and what was printed."""
    words = [
        f"weights={given.weights}",
        f"source={given.source}",
        f"target={clip}",
        f"out={out}",
        f"runtime={runtime}",
        f"size={given.crops}",
        f"following.smooth={smooth}",
        f"detector.weights={given.detector}",
        f"encoder={given.encoder}",
        f"encoder.weights={given.encoder_weights}",
        f"faces={'all' if given.people != 1 else 'largest'}",
        "overwrite=true",
        "device=cpu",
    ]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([sys.executable, "-m", "idn", "swap", *words], stdout=said, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)  # its own use alone, where getrusage tells the largest child's
        for file in (said, errors):
            file.seek(0)
        if status:
            sys.exit(errors.read())
        return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said.read()


def main() -> None:
    given = options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    photos = sorted(Path(given.faces).glob("*.jpg"))[: given.people]
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        for height in given.sizes:
            clip = root / f"clip{height}.mp4"
            write_clip(clip, photos, height, given.seconds)
            for runtime in given.runtimes:
                show(given, clip, root / f"swapped{height}_{runtime}.mp4", height, runtime)
        clip, runtime = root / f"clip{given.sizes[0]}.mp4", given.runtimes[0]
        if given.long:
            repeat_clip(clip, root / "long.mp4", given.long, given.seconds)
            peak = [swapped(given, path, root / "o.mp4", runtime)[2] for path in (clip, root / "long.mp4")]
            seconds = given.seconds * given.long
            print(f"peak memory: {peak[0]:.0f} MiB of {given.seconds} s, {peak[1]:.0f} MiB of {seconds} s")
        if given.jitter:
            for smooth in (True, False):
                show_jitter(given, clip, root / f"smooth_{smooth}.mp4", runtime, smooth)


def show(given: argparse.Namespace, clip: Path, out: Path, height: int, runtime: str) -> None:
    wall, processor, memory, said = swapped(given, clip, out, runtime)
    frames = times(clip)
    print(
        f"{height}p {runtime}: {len(frames)} frames, the whole command {wall:.1f} s, {processor:.1f} s of processor, "
        f"peak {memory:.0f} MiB, sound {'equal' if sound(out) == sound(clip) else 'DIFFERS'}, "
        f"times {'equal' if times(out) == frames else 'DIFFER'}"
    )
    print(said, flush=True)


def show_jitter(given: argparse.Namespace, clip: Path, out: Path, runtime: str, smooth: bool) -> None:
    from idn.data.alignment.detector import YuNetDetector
    from idn.encoders.dlib_resnet import DlibLandmarks
    from idn.evaluation.videos import score_video

    swapped(given, clip, out, runtime, smooth)
    scores = score_video(pictures(out), pictures(clip), YuNetDetector(given.detector), DlibLandmarks(None))
    print(f"following.smooth={str(smooth).lower()}: {scores}", flush=True)


if __name__ == "__main__":
    main()
