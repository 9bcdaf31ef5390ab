"""Pipelines with a name of their own. The driver runs `to-integer` and `to-dataflow` by itself where a step, or a
backend, needs a lower level than the graph is at."""

# real arithmetic on quantized values becomes exact integer arithmetic; then the hardware of each requantizer is chosen
# by proof, and every value gets the fewest bits
TO_INTEGER = "fold, clean, integer, requantize, narrow"

# layers become actors connected by streams
TO_DATAFLOW = "dataflow"
