"""A network without multipliers: every weight is a sum of two signed powers of two, every product two shifts.

    $ python examples/03_shift_network.py
    5 layers: 0 with a multiplication, 116 shifts
"""

import re
from pathlib import Path

from irc.compiler import Request, compile_model

DATA = Path(__file__).parent / "data"


def code(verilog: str) -> str:
    """Verilog without comments, attributes `(* ... *)` and sensitivity lists `@(*)`."""
    return re.sub(r"//.*|/\*.*?\*/|@\(\*\)|@\*|\(\*.*?\*\)", "", verilog)


def main() -> None:
    request = Request(
        model=DATA / "mnist_lenet.onnx",
        passes="shift{terms=2}, quantize{activations=u8}",
        calibration=DATA / "mnist_calibration.npz",
        target="verilog",
    )
    build, _ = compile_model(request, Path("build/03_shift"))
    modules = {path.name: code(path.read_text()) for path in sorted(build.design.glob("*.v"))}
    layers = {f"mnist_lenet_{node.name}.v" for node in build.graph("dataflow").nodes if node.op.name == "matvec"}
    products = [name for name in sorted(layers) if "*" in modules[name]]
    shifts = sum(modules[name].count("<<") for name in layers)
    print(f"{len(layers)} layers: {len(products)} with a multiplication, {shifts} shifts")
    assert not products, products


if __name__ == "__main__":
    main()
