"""A graph on disk: `x.irc` holds the text, `x.npz` beside it the large constants. Same graph, same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from irc.diagnostics import error
from irc.folder import replace_files
from irc.graph import Graph
from irc.text.printer import large_constants, print_graph
from irc.text.reader import read_graph
from irc.types import Array

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date a zip file knows, so that bytes do not depend on the clock


def save_graph(graph: Graph, path: Path | str) -> None:
    """Write `x.irc`, and `x.npz` when there are large constants, both or none. Raises E503."""
    target = Path(path)
    files = {target: print_graph(graph).encode()}
    data = large_constants(graph)
    if data:
        archive = BytesIO()
        write_npz(archive, data)
        files[target.with_suffix(".npz")] = archive.getvalue()
    replace_files(files)


def load_graph(path: Path | str) -> Graph:
    """Read what `save_graph` wrote. Raises E101 besides the errors of `read_graph`."""
    source = Path(path)
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error("E101", f"{getattr(problem, 'strerror', None) or problem}", file=str(source)) from None
    side = source.with_suffix(".npz")
    return read_graph(text, read_npz(side) if side.exists() else {}, str(source))


def write_npz(path: Path | BinaryIO, arrays: Mapping[str, Array]) -> None:
    """An `.npz` file that depends on the arrays alone; integers in the narrowest dtype, any string a key."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, narrowest(data), allow_pickle=False)


def read_npz(path: Path) -> dict[str, Array]:
    """All arrays of an `.npz` file. Raises E101."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[f"{name}.npy"] for name in archive.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, AttributeError) as problem:
        raise error("E101", f"not a readable .npz file: {problem}", file=str(path)) from None


def narrowest(data: Array) -> Array:
    """Integers in the smallest NumPy dtype that holds them all; reals as they are."""
    if data.dtype.kind == "f" or not data.size:
        return data
    low, high = int(data.min()), int(data.max())
    return data.astype(np.min_scalar_type(high if low >= 0 else min(low, ~high)))
