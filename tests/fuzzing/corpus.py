"""Good files of every kind, from which the damaged ones are made."""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
from PIL import Image

from discretevae.config import DataConfig, RunConfig
from discretevae.run_folder.saved_run import save_config
from discretevae.training import train
from fuzzing import example
from fuzzing.tensors import without_checksum


def build_corpus(folder: Path) -> dict[str, list[bytes]]:
    """Small files by their kind; ``folder / "run"`` becomes the run that some of them belong to."""
    return data_files() | run_files(folder / "run")


def data_files() -> dict[str, list[bytes]]:
    """What `load_rows` and `load_data` read."""
    grey = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    table = grey.reshape(6, 16) / 96
    labels = np.array([0, 1, 2, 0, 1, 2])
    header, lines = (
        "a,b,label",
        [f"{a:.3f},{a / 3},{k}" for a, k in zip(table[:, 1], labels, strict=True)],
    )
    plain = "\n".join(";".join(map(str, row)) for row in grey.reshape(6, 16))
    columns = pa.table({"a": table[:, 0], "b": table[:, 1].astype("f4"), "label": labels})
    plain_parquet = [_parquet(columns), _parquet(columns, row_group_size=2)]
    sparse = scipy.sparse.csr_matrix(np.where(table > 0.5, table, 0))
    opaque = Image.fromarray(grey[0])
    return {
        "idx": [
            _idx(grey, 8, ">u1"), _idx(table, 13, ">f4"),
            gzip.compress(_idx(grey, 8, ">u1"), mtime=0),
        ],
        "labels": [_idx(labels, 8, ">u1"), _idx(labels, 12, ">i4")],
        "npy": [_npy(grey), _npy(table), _npy(table.astype("f2")), _npy(np.asfortranarray(table))],
        "npy-stream": [_npy(grey), _npy(table)],
        "shards": [_npy(table), _npy(table[:1])],
        "npz": [
            _bytes(lambda file: np.savez(file, x=grey, y=labels)),
            _bytes(lambda file: np.savez_compressed(file, train=table, test=table)),
            _bytes(lambda file: scipy.sparse.save_npz(file, sparse)),
            _bytes(lambda file: scipy.sparse.save_npz(file, sparse.tocsc())),
            _bytes(lambda file: scipy.sparse.save_npz(file, sparse.tocoo())),
        ],
        "csv": [
            "\n".join((header, *lines)).encode(), plain.encode(),
            plain.replace(";", "\t").encode(),
            b"pet,age,seen\n" + b"cat,1.5,0\ndog,,3\ncat,2.5,\n,0.5,1\n" * 4,
        ],
        "parquet": [*plain_parquet, _parquet(columns, compression="zstd")],
        "parquet-stream": plain_parquet,
        "picture": [
            _bytes(lambda file, picture=picture, form=form: picture.save(file, form))
            for picture, forms in (
                (opaque, ("PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG")),
                (opaque.convert("RGBA"), ("PNG", "TIFF", "WEBP")),
            )
            for form in forms
        ],
    }  # fmt: skip


def run_files(run: Path) -> dict[str, list[bytes]]:
    """What `load_run`, `train` with ``resume`` and `read_codes` read; trains the run."""
    run.mkdir()
    model, training = example.model(), example.training(1)
    save_config(run, RunConfig(model=model.config, training=training, data=DataConfig(source="x")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a code that carries little
        train(model, example.data(), training, out=run)
    weights = (run / "model.safetensors").read_bytes()
    state = example.newest_state(run).read_bytes()
    return {
        "model": [weights, without_checksum(weights)],
        "state": [state, without_checksum(state), without_checksum(state)],
        "config": [(run / "config.json").read_bytes()],
        "schema": example.schemas(),
        "metrics": [(run / "metrics.jsonl").read_bytes()],
        "codes": [_npy(np.array([[8], [240], [0]], np.uint8))],
    }


def sparse_npz(kind: str = "csr", **parts: Any) -> bytes:
    """What `scipy.sparse.save_npz` writes of a table of 4 entries, with other parts in it."""
    table = scipy.sparse.csr_matrix(np.diag([1, 2, 3, 4])).asformat(kind)
    with np.load(io.BytesIO(_bytes(lambda file: scipy.sparse.save_npz(file, table)))) as archive:
        found = dict(archive) | parts
    return _bytes(lambda file: np.savez(file, **found))


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    return _bytes(lambda file: np.save(file, array))


def _parquet(table: pa.Table, **options: Any) -> bytes:
    return _bytes(lambda file: pq.write_table(table, file, **options))


def _idx(array: Any, kind: int, dtype: str) -> bytes:
    sides = np.array(array.shape, ">u4").tobytes()
    return bytes((0, 0, kind, array.ndim)) + sides + array.astype(dtype).tobytes()
