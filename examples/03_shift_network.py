"""A network without multipliers: every weight is a sum of two signed powers of two, every product two shifts.

    $ python examples/03_shift_network.py
    2... modules, 1... shifts, 0 modules with a multiplication
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
    modules = {path.name: code(path.read_text()) for path in sorted(build.design.glob("mnist_lenet*.v"))}
    products = [name for name, verilog in modules.items() if "*" in verilog]
    shifts = sum(verilog.count("<<") for verilog in modules.values())
    print(f"{len(modules)} modules, {shifts} shifts, {len(products)} modules with a multiplication")
    assert not products, products


if __name__ == "__main__":
    main()
