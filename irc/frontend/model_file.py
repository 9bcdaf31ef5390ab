"""Opening an ONNX file: everything that can be wrong with it before a single operator is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path
from stat import S_ISCHR, S_ISFIFO

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto

from irc.diagnostics import Diagnostic, IrcError, Place, did_you_mean, error
from irc.frontend.contents import check_contents
from irc.frontend.names import label
from irc.limits import Limits

OLDEST_OPSET = 7


def load(path: Path, limits: Limits) -> ModelProto:
    """The parsed model with local functions inlined. Raises E101, E102, E103, E104 or E109."""
    try:
        found = path.stat()
        if S_ISFIFO(found.st_mode) or S_ISCHR(found.st_mode):
            raise error("E101", "the file is a device or a pipe", file=str(path))
        limits.check("file", found.st_size, "bytes of the file")
        data = path.read_bytes()
    except OSError as problem:
        raise error("E101", f"{problem.strerror or problem}", file=str(path)) from None
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise error("E102", "the file is truncated or not an ONNX model", file=str(path)) from None
    if not model.HasField("graph") or not model.opset_import:
        raise error("E102", "the file holds no ONNX graph", file=str(path))
    try:
        check_contents(model, limits)
    except IrcError as problem:
        raise IrcError(*(replace(d, place=Place(str(path))) for d in problem.diagnostics)) from None
    return _complete(model, str(path))


def _complete(model: ModelProto, file: str) -> ModelProto:
    _check_opset(opset(model), file)
    if not model.graph.node or not model.graph.output:
        missing = "nodes" if not model.graph.node else "outputs"
        raise error("E103", f"the graph has no {missing}", file=file)
    return _inlined(model, file) if model.functions else model


def _inlined(model: ModelProto, file: str) -> ModelProto:
    """The bodies of local functions in place of their calls."""
    from onnx import checker, inliner

    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, checker.ValidationError) as problem:  # such as more operands than the function has
        reason = str(problem).rpartition(": ")[2]
        raise error("E102", f"the local functions of the model do not fit their calls: {reason}", file=file,
                    remedy="Export the model again.") from None


def opset(model: ModelProto) -> int:
    """Version of the default operator set."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_opset(version: int, file: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= version <= newest:
        raise error("E104", f"operator set {version} is not supported, {OLDEST_OPSET} to {newest} are", file=file,
                    remedy="Export with opset_version=17, or use onnx.version_converter.")


def name_problems(graph: GraphProto, file: str) -> Iterator[Diagnostic]:
    """E105 for each name that is defined twice, or used and never (or not yet) defined."""
    weights = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    names = [t.name for t in graph.initializer]
    names += [i.name for i in graph.input if i.name not in weights]  # old IR versions list initializers as inputs
    names += [o for node in graph.node for o in node.output if o]
    made = Counter(names)
    for name in (name for name, times in made.items() if times > 1):
        yield Diagnostic("E105", f"'{name}' is defined twice", Place(file), "Give every value its own name.")
    defined = weights | {i.name for i in graph.input}
    for node in graph.node:
        yield from _dangling(node, defined, made.keys(), file)
        defined.update(node.output)
    for port in graph.output:
        if port.name not in defined:
            yield Diagnostic("E105", f"output '{port.name}' is never defined", Place(file),
                             did_you_mean(port.name, defined))


def _dangling(node: NodeProto, defined: set[str], names: Set[str], file: str) -> Iterator[Diagnostic]:
    for name in node.input:
        if name and name not in defined:
            place = Place(file, node=label(node), operator=node.op_type)
            when = "before it is defined" if name in names else "but never defined"
            yield Diagnostic("E105", f"'{name}' is used {when}", place, did_you_mean(name, defined))


def nothing_wrong(problems: list[Diagnostic]) -> None:
    """Raise all problems as one error, if there are any."""
    if problems:
        raise IrcError(*problems)
