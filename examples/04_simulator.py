"""The emitted simulator: one Python file that needs NumPy alone and knows the cycle of every handshake.

    $ python examples/04_simulator.py
    mnist_lenet: 1000 frames in 40... cycles
      latency of the first frame  13... cycles
      initiation interval         4000 cycles a frame
       99...%  c2_window
    ...
    build/04_waves.vcd: ... bytes, for GTKWave or Surfer
"""

import subprocess
import sys
from pathlib import Path

from irc.compiler import Request, compile_model

DATA = Path(__file__).parent / "data"


def main() -> None:
    request = Request(
        model=DATA / "mnist_lenet.onnx",
        passes="quantize{weights=s5 activations=u8}, parallelize{interval=4000}",
        calibration=DATA / "mnist_calibration.npz",
        target="sim",
    )
    build, _ = compile_model(request, Path("build/04_sim"))
    waves = build.folder.parent / "04_waves.vcd"
    program = [sys.executable, str(build.design / "sim.py")]
    subprocess.run([*program, "--frames", "1000", "--report"], check=True)
    subprocess.run([*program, "--frames", "2", "--vcd", str(waves)], check=True)
    print(f"{waves}: {waves.stat().st_size} bytes, for GTKWave or Surfer")


if __name__ == "__main__":
    main()
