"""User data at any level: bind arrays to a graph's inputs, bring results back to what the user sees.

The user's view of a port is a tensor [samples, ...] of reals (integers where the model has integers, like token ids);
the batch dimension 1 of a type [1, ...] is not there. On the way to the graph a port's `Encoding` turns reals into
integers, and at dataflow level `order` lays the tensor out as the value array [samples, positions, elements].
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from irc.diagnostics import IrcError, did_you_mean, error
from irc.graph import Graph, Port
from irc.types import Array, Float, Integer, StreamType, TensorType

LABELS = "labels"  # the array of user data that holds the classes, unless the user names another


def load_samples(path: Path | str) -> dict[str, Array]:
    """The arrays of an `.npz` file, by name. Raises E101 for an unreadable file, E401 for arrays of objects."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise error("E101", "the file holds a single array", file=str(path),
                        remedy="save named arrays with numpy.savez")
        with archive:
            return {name: _entry(archive, name, str(path)) for name in archive.files}
    except OSError as problem:
        raise error("E101", f"the file cannot be read: {problem.strerror or problem}", file=str(path)) from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        # NumPy's own words recommend unpickling, which runs whatever the file holds
        raise error("E101", "not an .npz file of plain arrays", file=str(path),
                    remedy="save named arrays with numpy.savez") from None


def load_fitting(path: Path | str, graph: Graph) -> dict[str, Array]:
    """`load_samples`, after making sure that `bind` takes the data. Raises E401 naming the file."""
    data = load_samples(path)
    try:
        bind(graph, data)
    except IrcError as misfit:
        raise IrcError(*(replace(d, place=replace(d.place, file=str(path))) for d in misfit.diagnostics)) from None
    return data


def load_array(path: Path) -> Array:
    """The array of an `.npy` file, or the only one (or the one called `labels`) of an `.npz`. Raises E101, E401."""
    if path.suffix == ".npz":
        arrays = load_samples(path)
        if LABELS not in arrays and len(arrays) != 1:
            raise error("E401", f"the file holds {len(arrays)} arrays, none of them called '{LABELS}'", file=str(path))
        return arrays[LABELS] if LABELS in arrays else next(iter(arrays.values()))
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except OSError as problem:
        raise error("E101", f"the file cannot be read: {problem.strerror or problem}", file=str(path)) from None
    except (ValueError, EOFError) as problem:
        raise error("E101", f"not an .npy file of numbers: {problem}", file=str(path)) from None


def _entry(archive: np.lib.npyio.NpzFile, name: str, file: str) -> Array:
    try:
        return np.asarray(archive[name])
    except ValueError:
        raise error("E401", f"array '{name}' holds Python objects, not numbers", file=file) from None


def bind(graph: Graph, data: Mapping[str, Array]) -> dict[str, Array]:
    """User tensors to what `evaluate` takes, checked. Arrays of other names (labels) are left out. Raises E401."""
    tensors = {port.name: _checked(port, _find(port, data)) for port in graph.inputs}
    counts = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise error("E401", f"inputs have different numbers of samples: {found}")
    return {port.name: arrange(port, encoded(port, tensors[port.name])) for port in graph.inputs}


def present(graph: Graph, results: Mapping[str, Array]) -> dict[str, Array]:
    """Results of `evaluate` to what the user sees: reals where the port has an encoding, batch dimension dropped."""
    return {port.name: _unbatched(port, decoded(port, restore(port, results[port.name]))) for port in graph.outputs}


def user_type(port: Port) -> TensorType:
    """Format on the port, in the shape the user knows."""
    if isinstance(port.type, TensorType):
        return port.type
    shape = port.tensor.shape if port.tensor else (port.type.positions, port.type.elements)
    return TensorType(port.type.format, shape)


def encoded(port: Port, reals: Array) -> Array:
    """Reals [samples, *shape] to the port's integers; unchanged where the port has no encoding."""
    form = port.type.format
    return port.encoding.encode(reals, form) if port.encoding and isinstance(form, Integer) else reals


def decoded(port: Port, integers: Array) -> Array:
    """What the port's integers [samples, *shape] mean; unchanged where the port has no encoding."""
    return port.encoding.decode(integers) if port.encoding else integers


def arrange(port: Port, tensor: Array) -> Array:
    """A tensor [samples, *shape] to the value array of a stream; unchanged at the levels of tensors."""
    if not isinstance(port.type, StreamType):
        return tensor
    moved = tensor.transpose(0, *(axis + 1 for axis in port.order)) if port.order else tensor
    return moved.reshape(len(tensor), port.type.positions, port.type.elements)


def restore(port: Port, values: Array) -> Array:
    """The inverse of `arrange`."""
    if not isinstance(port.type, StreamType):
        return values
    shape = user_type(port).shape
    order = port.order or tuple(range(len(shape)))
    sent = values.reshape(len(values), *(shape[axis] for axis in order))
    return sent.transpose(0, *(int(axis) + 1 for axis in np.argsort(order)))


def _find(port: Port, data: Mapping[str, Array]) -> Array:
    if port.name not in data:
        raise error("E401", f"there are no data for input '{port.name}'", remedy=_nearest(port.name, data))
    return np.asarray(data[port.name])


def _nearest(name: str, data: Mapping[str, Array]) -> str:
    return did_you_mean(name, data).replace("Did you mean", "Rename").replace("'?", f"' to '{name}'.")


def _checked(port: Port, array: Array) -> Array:
    """The user's array as [samples, *shape], in the dtype of the port."""
    wanted = user_type(port)
    if array.dtype.kind not in "fiub":
        raise _misfit(port, f"has dtype {array.dtype}, not numbers")
    form = wanted.format
    if isinstance(form, Float) or port.encoding:
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise _misfit(port, "holds NaN or infinity")
    elif array.dtype.kind == "f":
        raise _misfit(port, f"has dtype {array.dtype}, but the input takes integers")
    elif not form.holds(array):
        raise _misfit(port, f"holds values in [{array.min()}, {array.max()}], outside {form}")
    return _shaped(port, array, wanted.shape)


def _shaped(port: Port, array: Array, shape: tuple[int, ...]) -> Array:
    sample = shape[1:] if shape[:1] == (1,) else shape
    if array.ndim == 0 or array.shape[1:] not in (sample, shape):
        expected = ", ".join(("samples", *map(str, sample)))
        raise _misfit(port, f"has shape {list(array.shape)}, expected is [{expected}]")
    if not len(array):
        raise _misfit(port, "has no samples")
    return array.reshape(len(array), *shape)


def _misfit(port: Port, what: str) -> IrcError:
    return error("E401", f"the array for input '{port.name}' {what}")


def _unbatched(port: Port, tensor: Array) -> Array:
    shape = user_type(port).shape
    return tensor.reshape(len(tensor), *shape[1:]) if shape[:1] == (1,) else tensor


def sample_count(data: Mapping[str, Array]) -> int:
    """Number of samples in bound data."""
    return min(map(len, data.values()), default=0)


def take(data: Mapping[str, Array], count: int) -> dict[str, Array]:
    """The first `count` samples."""
    return {name: array[:count] for name, array in data.items()}
