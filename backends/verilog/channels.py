"""The three FIFOs of the design, written once as library modules.

All keep the timing law: a token is readable the cycle after it entered, a slot is free the cycle after its token left,
and slots are reserved when the producer's firing starts, so no pipeline ever has to stall.
"""

# ports and counters that the channels of one token a firing share
_PORTS = """\
 #(
    parameter WIDTH = 8,
    parameter DEPTH = 4,
    parameter BITS = 2,
    parameter COUNT = 3
) (
    input wire clk,
    input wire aresetn,
    output wire space,
    input wire reserve,
    input wire push,
    input wire [WIDTH-1:0] data,
    output wire x_valid,
    input wire x_pop,
"""

_BOOKKEEPING = """\
    reg [BITS-1:0] head;
    reg [BITS-1:0] tail;
    reg [COUNT:0] free;  // one less than the free slots: the sign bit says there is none
    reg [COUNT:0] held;  // one less than the tokens held
    assign space = !free[COUNT];
    assign x_valid = !held[COUNT];
    always @(posedge clk) begin
        if (!aresetn) begin
            head <= {BITS{1'b0}};
            tail <= {BITS{1'b0}};
            free <= DEPTH[COUNT:0] - 1'b1;
            held <= {(COUNT + 1){1'b1}};
        end else begin
            if (push) tail <= tail + 1'b1;
            if (x_pop) head <= head + 1'b1;
            if (reserve && !x_pop) free <= free - 1'b1;
            else if (!reserve && x_pop) free <= free + 1'b1;
            if (push && !x_pop) held <= held + 1'b1;
            else if (!push && x_pop) held <= held - 1'b1;
        end
    end
"""

_FIFO = f"""\
// A channel whose consumer takes one token a firing. `x_data` is the head of the FIFO, one cycle later.
module irc_fifo{_PORTS}    output reg [WIDTH-1:0] x_data
);
    (* no_rw_check *)
    reg [WIDTH-1:0] memory [0:(1<<BITS)-1];
{_BOOKKEEPING}    always @(posedge clk) begin
        if (push) memory[tail] <= data;
        x_data <= memory[head];
    end
endmodule
"""

_OUTPUT = f"""\

// The channel to an output port: the head is shown while `x_valid`.
module irc_output{_PORTS}    output wire [WIDTH-1:0] x_data
);
    reg [WIDTH-1:0] memory [0:(1<<BITS)-1];
{_BOOKKEEPING}    assign x_data = memory[head];
    always @(posedge clk) if (push) memory[tail] <= data;
endmodule
"""

_LINE_BUFFER = """\

// The channel to a window: the window counts arrivals, addresses the memory and gives slots back, several at once.
module irc_line_buffer #(
    parameter WIDTH = 8,
    parameter DEPTH = 4,
    parameter BITS = 2,
    parameter COUNT = 3,
    parameter PORTS = 1
) (
    input wire clk,
    input wire aresetn,
    output wire space,
    input wire reserve,
    input wire push,
    input wire [WIDTH-1:0] data,
    input wire [COUNT-1:0] x_release,
    input wire [PORTS*BITS-1:0] x_address,
    output wire [PORTS*WIDTH-1:0] x_data
);
    reg [BITS-1:0] tail;
    reg [COUNT:0] free;  // one less than the free slots: the sign bit says there is none
    assign space = !free[COUNT];
    always @(posedge clk) begin
        if (!aresetn) begin
            tail <= {BITS{1'b0}};
            free <= DEPTH[COUNT:0] - 1'b1;
        end else begin
            if (push) tail <= tail + 1'b1;
            free <= free + {1'b0, x_release} - {{COUNT{1'b0}}, reserve};
        end
    end
    genvar port;
    generate
        for (port = 0; port < PORTS; port = port + 1) begin : read
            (* no_rw_check *)
            reg [WIDTH-1:0] memory [0:(1<<BITS)-1];
            reg [WIDTH-1:0] word;
            reg [WIDTH-1:0] held;  // block memory is slow to answer and may be far away
            always @(posedge clk) begin
                if (push) memory[tail] <= data;
                word <= memory[x_address[port*BITS +: BITS]];
                held <= word;
            end
            assign x_data[port*WIDTH +: WIDTH] = held;
        end
    endgenerate
endmodule
"""

CHANNELS = {"irc_fifo": _FIFO, "irc_output": _OUTPUT, "irc_line_buffer": _LINE_BUFFER}  # module name -> text
