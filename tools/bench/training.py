#!/usr/bin/python3
"""Throughput and peak memory of training: the pass finetune against PyTorch eager.

usage: training.py ONE_PASS [--rounds 3] [--steps 12] [--threads 1 2]

CIFAR-size ResNet-20 in batches of 128, SGD with momentum and decay, random pictures held in memory. Each figure is of a
process of its own, in turn: ours on the scripted file, PyTorch eager as its users write it, and eager in channels_last.
ONE_PASS is the benchmark program of that name. Images per second are by the clock; on one thread also by CPU seconds, which
a busy machine disturbs less.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

BATCH = 128
OPTIONS = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "schedule": {"name": "constant"}}
WAYS = ("ours", "eager", "eager, channels_last")


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride = stride
        self.padding = (after - before) // 2

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride == 2:  # the shortcut without weights: every other pixel, padded channels
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, before = [], 16
        for after in (16, 32, 64):
            for number in range(3):
                blocks.append(Block(before, after, 2 if number == 0 and after > 16 else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def train_eagerly(data, way, threads):
    """In a process of its own: prints what ours prints."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(array) for array in numpy.load(data).values())
    model = ResNet20()
    layout = torch.channels_last if way.endswith("channels_last") else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    start, cpu = time.monotonic(), time.process_time()
    for first in range(0, len(images), BATCH):
        inputs = images[first:first + BATCH].contiguous(memory_format=layout)
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(inputs), labels[first:first + BATCH])
        loss.backward()
        optimizer.step()
        loss.item()
    told = {"wall_seconds": time.monotonic() - start, "seconds": time.process_time() - cpu}
    told["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps(told))


def measure(arguments, folder, way, threads):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if way == "ours":
        command = [arguments.one_pass, folder / "model.pt", "1x3x32x32", "finetune", json.dumps(OPTIONS), folder / "out.pt",
                   folder / "data.npz", str(threads)]
    else:
        command = [sys.executable, __file__, "--eager", folder / "data.npz", way, str(threads)]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one_pass")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    samples = BATCH * arguments.steps
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        torch.manual_seed(0)
        torch.jit.script(ResNet20()).save(folder / "model.pt")
        random = numpy.random.default_rng(0)
        numpy.savez(folder / "data.npz", images=random.standard_normal((samples, 3, 32, 32), dtype=numpy.float32),
                    labels=random.integers(0, 10, samples))
        print("| threads | | images/s | of eager | images/CPU s | of eager | peak MiB |\n" + "| --- " * 7 + "|")
        for threads in arguments.threads:
            runs = {way: [] for way in WAYS}
            for _ in range(arguments.rounds):
                for way in WAYS:
                    runs[way].append(measure(arguments, folder, way, threads))
            print_rows(runs, threads, samples)


def print_rows(runs, threads, samples):
    def median(way, key):
        return statistics.median(run[key] for run in runs[way])

    for way in WAYS:
        cells = [str(threads), way]
        for key in ("wall_seconds", "seconds"):
            ratio = statistics.median(e[key] / r[key] for e, r in zip(runs["eager"], runs[way]))
            is_shown = key == "wall_seconds" or threads == 1
            cells += [f"{samples / median(way, key):.0f}", f"{ratio:.2f}"] if is_shown else ["", ""]
        print("| " + " | ".join(cells + [f"{median(way, 'peak_mib'):.0f}"]) + " |", flush=True)


if len(sys.argv) > 1 and sys.argv[1] == "--eager":
    train_eagerly(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    main()
