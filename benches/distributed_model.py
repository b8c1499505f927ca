"""A cost model of distributed training: the time of a step over the number of ranks, for several interconnects.

    python benches/distributed_model.py --params 3.9e6 --step-seconds 0.9 [--exposed 0.2]

`--step-seconds` is the time in which one rank computes its share of a step: the batches per rank stay the same, so
that the number of images of a step grows with the ranks (weak scaling). The output is a simulation with the formula
in docs/distributed.md, not a measurement: it knows nothing of congestion, of stragglers or of the data.
"""

import argparse

# Bandwidth in bytes per second and latency in seconds of a message between two ranks: nominal values.
INTERCONNECTS = {
    "1 Gbit/s Ethernet": (1.25e8, 50e-6),
    "25 Gbit/s Ethernet": (3.1e9, 20e-6),
    "200 Gbit/s InfiniBand": (2.5e10, 2e-6),
    "NVLink 4, one host": (4.5e11, 1e-6),
}
RANKS = [1, 2, 4, 8, 16, 64, 256, 1024]
BUCKET_BYTES = 25 * 2**20


def communication_seconds(ranks: int, params: float, bandwidth: float, latency: float) -> float:
    """All-to-all and all-gather of the gradients in f32."""
    buckets = max(1, -(-int(4 * params) // BUCKET_BYTES))
    return 2 * (ranks - 1) / ranks * 4 * params / bandwidth + 2 * (ranks - 1) * latency * buckets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--params", type=float, required=True, help="number of parameters")
    parser.add_argument("--step-seconds", type=float, required=True, help="computing time of a rank per step")
    parser.add_argument("--exposed", type=float, default=0.2, help="share of the communication that nothing hides")
    options = parser.parse_args()
    print(f"simulation: {options.params:g} parameters, {options.step_seconds:g} s per step and rank")
    print(f"{'ranks':>6}" + "".join(f"{name:>24}" for name in INTERCONNECTS) + "   (efficiency)")
    for ranks in RANKS:
        line = f"{ranks:>6}"
        for bandwidth, latency in INTERCONNECTS.values():
            communication = communication_seconds(ranks, options.params, bandwidth, latency) if ranks > 1 else 0.0
            hidden = (1 - options.exposed) * communication
            step = max(options.step_seconds, hidden) + options.exposed * communication
            line += f"{options.step_seconds / step:>23.0%} "
        print(line.rstrip())


if __name__ == "__main__":
    main()
