"""Bits per value of compressed rows beside general compressors on the same bytes, in one run.

    python benchmarks/compression.py RUN --out result.json

The test rows of the run's own data are written as a ``.dvz`` file, read back and compared to the
bit; so is uniform noise. Every compressor gets the rows packed as small as they can be stored:
eight bits of 0 and 1 to a byte, or a byte for each 8-bit value. PNG gets pictures of 1 or 8 bits a
pixel, one for each row and one large one of all rows side by side.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from discretevae.cli.ending import finish
from discretevae.codes.compression.files import DEFAULT_LANES, compress, decompress
from discretevae.data import load_rows
from discretevae.evaluation.bounds import evaluate
from discretevae.run_folder.saved_run import load_run
from discretevae.system.files import write_json


def png(picture: np.ndarray, bits: int) -> int:
    """Bytes of a picture as PNG."""
    image = Image.fromarray(picture * np.uint8(255 if bits == 1 else 1))
    buffer = io.BytesIO()
    (image.convert("1") if bits == 1 else image).save(buffer, "PNG", optimize=True)
    return len(buffer.getvalue())


def others(k: np.ndarray, shape: tuple[int, int], bits: int) -> dict[str, int | None]:
    """Bytes that general compressors need for rows ``[N, P]`` of so many bits."""
    raw = (np.packbits(k.ravel()) if bits == 1 else k).tobytes()
    pictures = k.reshape(-1, *shape)
    width = max(w for w in range(1, round(len(k) ** 0.5) + 1) if len(k) % w == 0)
    large = pictures.reshape(-1, width, *shape).swapaxes(1, 2).reshape(-1, width * shape[1])
    found: dict[str, int | None] = {
        "raw": len(raw),
        "gzip -9": len(gzip.compress(raw, 9)),
        "bz2 -9": len(bz2.compress(raw, 9)),
        "xz -9e": len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)),
        "PNG, one per row": sum(png(picture, bits) for picture in pictures),
        "PNG, one of all": png(large, bits),
        "zstd -22": None,
    }
    if shutil.which("zstd"):
        command = ["zstd", "--ultra", "-22", "-c", "-q"]
        found["zstd -22"] = len(subprocess.run(command, input=raw, capture_output=True).stdout)
    return found


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--noise-rows", type=int, default=200)
    parser.add_argument("--lanes", type=int, nargs="*", default=[DEFAULT_LANES])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    run = load_run(args.run)
    rows = load_rows(run.config.data.source, split="test").subset(slice(0, args.rows))
    rows = rows.binarized(run.config.data.binarize).deterministic()
    top = 255 if run.model.likelihood.support == "bytes" else 1
    bits = 8 if top == 255 else 1
    x = rows.batch(slice(None))
    k = (x * top).round().byte().numpy()
    n_values = k.size

    measured = evaluate(run.model, rows, samples=1)
    elbo = measured.log_px or measured.elbo
    result: dict[str, object] = {
        "data": run.config.data.source,
        "rows": len(k),
        "features": k.shape[1],
        "latent": str(run.config.model.latent),
        "likelihood": str(run.config.model.likelihood),
        "prior": str(run.config.model.prior),
        "bound": "ln p(x)" if measured.log_px else "ELBO",
        "bound_bits_per_value": -elbo.value * len(k) / (n_values * np.log(2)),
    }
    files = []
    for lanes in args.lanes:
        started = time.process_time()
        content = compress(run.model, k, lanes=lanes)
        packed = time.process_time()
        back = decompress(run.model, content)
        files.append(
            {
                "lanes": lanes,
                "bytes": len(content),
                "bits_per_value": 8 * len(content) / n_values,
                "exact": bool(np.array_equal(back, k)),
                "compress_cpu_seconds": round(packed - started, 1),
                "decompress_cpu_seconds": round(time.process_time() - packed, 1),
            }
        )
        print(json.dumps(files[-1]), flush=True)
    result["files"] = files
    noise = np.random.default_rng(0).integers(0, top + 1, (args.noise_rows, k.shape[1]), np.uint8)
    content = compress(run.model, noise)
    result["noise"] = {
        "rows": len(noise),
        "bits_per_value": 8 * len(content) / noise.size,
        "exact": bool(np.array_equal(decompress(run.model, content), noise)),
    }
    shape = run.config.model.image_shape or (1, k.shape[1])
    result["others_bits_per_value"] = {
        name: None if size is None else 8 * size / n_values
        for name, size in others(k, shape, bits).items()
    }
    print(json.dumps(result, indent=2))
    write_json(args.out, result)


if __name__ == "__main__":
    finish(main)
