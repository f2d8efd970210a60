#!/usr/bin/python3
"""quantize_int8 with mode weight_only: bytes, nearness and cost in stock PyTorch, and INT8 dynamic beside it.

usage: weight_only.py EDGECOMPRESS [--repeats 20]

The network: an embedding of 20000 words, 256 wide, and four residual blocks of two linear layers (256 -> 1024 -> 256,
GELU, layer norm), random weights. Inputs are 32 words; latency is of 1 and 16 inputs, one thread, in turn.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy
import torch

WORDS, WIDTH, HIDDEN, BLOCKS, LENGTH = 20000, 256, 1024, 4, 32
FORMS = {
    "8 bits, a scale a row": {"mode": "weight_only", "group_size": 0},
    "8 bits, groups of 64": {"mode": "weight_only"},
    "4 bits, groups of 64": {"mode": "weight_only", "bits": 4},
    "4 bits, groups of 64, gptq": {"mode": "weight_only", "bits": 4, "rounding": "gptq"},
    "4 bits, groups of 32, gptq": {"mode": "weight_only", "bits": 4, "group_size": 32, "rounding": "gptq"},
    "INT8 dynamic": {"mode": "dynamic"},
}


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    blocks = [Block() for _ in range(BLOCKS)]
    network = torch.nn.Sequential(torch.nn.Embedding(WORDS, WIDTH), *blocks, torch.nn.Linear(WIDTH, 16)).eval()
    with tempfile.TemporaryDirectory() as folder:
        torch.jit.trace(network, torch.zeros(1, LENGTH, dtype=torch.long)).save(os.path.join(folder, "float.pt"))
        # Zipf's law, as words have it.
        words = (WORDS ** torch.rand(256, LENGTH)).long() - 1
        numpy.savez(os.path.join(folder, "words.npz"), words=words.numpy())
        files = {"float": os.path.join(folder, "float.pt")}
        for name, options in FORMS.items():
            files[name] = compress(arguments.edgecompress, folder, options, f"out{len(files)}")
        print_table(files, arguments.repeats)


def compress(binary, folder, options, output):
    recipe = {
        "name": "weight-only", "threads": 1,
        "model": {"path": "float.pt", "inputs": [{"shape": [1, LENGTH], "dtype": "int64", "high": WORDS}]},
        "data": {"calibration": {"source": "npz", "path": "words.npz", "inputs": ["words"], "batch_size": 32}},
        "evaluation": {"latency": {"repeats": 3, "warm_up": 1}},
        "passes": [{"pass": "quantize_int8", **options}],
    }
    path = os.path.join(folder, "recipe.json")
    with open(path, "w") as file:
        json.dump(recipe, file)
    output = os.path.join(folder, output)
    subprocess.run([binary, "--quiet", "run", "--no-cache", path, "--output", output], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(output, "model.pt")


def print_table(files, repeats):
    models = {name: torch.jit.load(path) for name, path in files.items()}
    inputs = {count: (WORDS ** torch.rand(count, LENGTH)).long() - 1 for count in (1, 16)}
    cost = {count: in_turn(models, batch, repeats) for count, batch in inputs.items()}
    print("| form | file | SQNR, dB | latency, 1 input | 16 inputs |\n| --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        expected = models["float"](inputs[16])
        for name, model in models.items():
            wrong = (model(inputs[16]) - expected).square().sum()
            sqnr = "–" if name == "float" else f"{10 * torch.log10(expected.square().sum() / wrong):.1f}"
            size = os.path.getsize(files[name]) / os.path.getsize(files["float"])
            ratios = [f"{cost[count][name] / cost[count]['float']:.2f}" for count in inputs]
            print(f"| {name} | {size:.3f} | {sqnr} | {' | '.join(ratios)} |")


def in_turn(models, batch, repeats):
    """Median CPU milliseconds of each."""
    seconds = {name: [] for name in models}
    with torch.inference_mode():
        for round_number in range(repeats + 3):
            for name, model in models.items():
                started = time.process_time()
                model(batch)
                if round_number >= 3:  # profiled and optimised by then
                    seconds[name].append(time.process_time() - started)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
