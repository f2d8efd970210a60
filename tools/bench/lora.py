#!/usr/bin/python3
"""What lora costs and what it brings, against finetune of all parameters.

usage: lora.py cost EDGECOMPRESS OUTPUT [--steps 6] [--layers 12]
       lora.py digits EDGECOMPRESS SHARED OUTPUT [--images 12000] [--epochs 3] [--tasks inverted,rotated]

cost    time and peak memory of a training step on a transformer encoder (12 layers of 768, batch 8, 128 tokens; random
        weights, written by stock PyTorch). Time is that of runs of different length, subtracted.
digits  a small CNN learns MNIST digits, then digits that are inverted or turned by 90 degrees, by finetune and by lora.
        SHARED holds data/mnist_train.npz and data/mnist_test.npz.
"""
import argparse
import json
import pathlib
import subprocess

import numpy
import torch
from torch import nn

ADAMW = {"name": "adamw", "lr": 0.0005}


class Encoder(nn.Module):
    """Written out, so that scripting takes no fast path of nn.TransformerEncoder."""

    def __init__(self, layers, width=768, heads=12, words=1000, length=128):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.layers = nn.ModuleList([EncoderLayer(width, heads) for _ in range(layers)])
        self.head = nn.Linear(width, 10)

    def forward(self, tokens):
        x = self.words(tokens) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class EncoderLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        y = self.norm1(x)
        q, k, v = self.split(self.query(y)), self.split(self.key(y)), self.split(self.value(y))
        scores = torch.matmul(q, k.transpose(-2, -1)) * (x.shape[-1] // self.heads) ** -0.5
        x = x + self.out(torch.matmul(scores.softmax(-1), v).transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def run(edgecompress, recipe, output):
    """The report of a run."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "recipe.json"
    path.write_text(json.dumps({**recipe, "output": {"directory": str(output.resolve() / "out"), "overwrite": True}}))
    subprocess.run([edgecompress, "--quiet", "run", "--no-cache", path], check=True, stdout=subprocess.DEVNULL)
    return json.loads((output / "out" / "report.json").read_text())


def cost(arguments):
    folder = pathlib.Path(arguments.output).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokens = torch.randint(0, 1000, (8, 128))
    torch.jit.trace(Encoder(arguments.layers).eval(), tokens).save(folder / "encoder.pt")
    forms = {"finetune": {"pass": "finetune"}, "lora, rank 8": {"pass": "lora", "rank": 8},
             "lora, rank 8, dora": {"pass": "lora", "rank": 8, "dora": True}}
    print("| | s a step | of finetune | MiB | of finetune | numbers trained |")
    print("| --- | --- | --- | --- | --- | --- |")
    first = None
    for name, step in forms.items():
        seconds, memory = {}, 0
        for steps in (1, 1 + arguments.steps):
            numpy.savez(folder / "train.npz", tokens=torch.randint(0, 1000, (8 * steps, 128)).numpy(),
                        labels=torch.randint(0, 10, (8 * steps,)).numpy())
            report = run(arguments.edgecompress, {
                "threads": 1, "model": {"path": str(folder / "encoder.pt"),
                                        "inputs": [{"shape": [8, 128], "dtype": "int64", "high": 1000}]},
                "data": {"train": {"source": "npz", "path": str(folder / "train.npz"), "inputs": ["tokens"],
                                   "target": "labels", "batch_size": 8}},
                "evaluation": {"latency": {"repeats": 1, "warm_up": 0}},
                "passes": [{**step, "epochs": 1, "keep_best": False, "optimizer": ADAMW}]}, folder / "cost")
            record = report["steps"][0]
            seconds[record["counts"]["steps"]] = record["seconds"]
            memory = record["peak_memory_bytes"] / 2**20
        few, many = min(seconds), max(seconds)
        each = (seconds[many] - seconds[few]) / (many - few)
        first = first or (each, memory)
        print(f"| {name} | {each:.2f} | {each / first[0]:.2f} | {memory:.0f} | {memory / first[1]:.2f} | "
              f"{record['counts']['parameters_trained']:.0f} |", flush=True)


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(64 * 49, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


TASKS = {"upright": lambda images: images, "inverted": lambda images: 255 - images,
         "rotated": lambda images: numpy.rot90(images, axes=(1, 2)).copy()}


def digits(arguments):
    folder = pathlib.Path(arguments.output).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shared = pathlib.Path(arguments.shared) / "data"
    tasks = ["upright"] + arguments.tasks.split(",")
    for task in tasks:
        for part, most in (("train", arguments.images), ("test", 10000)):
            data = numpy.load(shared / f"mnist_{part}.npz")
            chosen = numpy.random.default_rng(0).permutation(len(data["labels"]))[:most]  # the file is sorted
            numpy.savez(folder / f"{task}_{part}.npz", images=TASKS[task](data["images"][chosen]),
                        labels=data["labels"][chosen])
    torch.manual_seed(0)
    torch.jit.script(Digits().eval()).save(folder / "untrained.pt")

    def train(task, model, step):
        transforms = [{"layout": {"from": "NHWC", "to": "NCHW"}}, {"scale": {"divisor": 255}},
                      {"normalize": {"mean": [0.1307], "std": [0.3081]}}]
        source = {"source": "npz", "inputs": ["images"], "target": "labels", "transforms": transforms}
        report = run(arguments.edgecompress, {
            "seed": 7, "threads": 1, "model": {"path": str(model), "inputs": [{"shape": [1, 1, 28, 28]}]},
            "data": {"train": {**source, "path": str(folder / f"{task}_train.npz"), "batch_size": 64},
                     "validation": {"from": "train", "split": 0.05},
                     "test": {**source, "path": str(folder / f"{task}_test.npz"), "batch_size": 250}},
            "evaluation": {"metric": "top1", "latency": {"repeats": 1, "warm_up": 0}},
            "passes": [{"epochs": arguments.epochs, **step}]}, folder / f"{task}_{step['pass']}")
        record = report["steps"][0]
        return (report["baseline"]["test"]["correct"], record["evaluation"]["test"]["correct"],
                record["counts"]["parameters_trained"], record["evaluation"]["size"]["parameters"])

    full = {"pass": "finetune", "optimizer": {"name": "adamw", "lr": 0.001}}
    lora = {"pass": "lora", "rank": 2, "alpha": 8, "optimizer": {"name": "adamw", "lr": 0.005},
            "rank_pattern": [{"layers": "^conv1$", "rank": 8, "alpha": 8}]}
    train("upright", folder / "untrained.pt", full)
    learnt = folder / "upright_finetune" / "out" / "model.pt"
    print("| digits | right before, of 10000 | finetune | lora | recovered of finetune's | trained |")
    print("| --- | --- | --- | --- | --- | --- |")
    for task in tasks[1:]:
        before, best, _, _ = train(task, learnt, full)
        _, adapted, trained, all_parameters = train(task, learnt, lora)
        print(f"| {task} | {before} | {best} | {adapted} | {(adapted - before) / (best - before):.1%} | "
              f"{trained / all_parameters:.2%} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cost")
    command.set_defaults(work=cost)
    command.add_argument("edgecompress")
    command.add_argument("output")
    command.add_argument("--steps", type=int, default=6)
    command.add_argument("--layers", type=int, default=12)
    command = commands.add_parser("digits")
    command.set_defaults(work=digits)
    command.add_argument("edgecompress")
    command.add_argument("shared")
    command.add_argument("output")
    command.add_argument("--images", type=int, default=12000)
    command.add_argument("--epochs", type=int, default=3)
    command.add_argument("--tasks", default="inverted,rotated")
    arguments = parser.parse_args()
    arguments.work(arguments)


if __name__ == "__main__":
    main()
