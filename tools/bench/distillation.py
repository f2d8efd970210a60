#!/usr/bin/python3
"""Throughput of distillation: ResNet-20 from ResNet-56 at 3x32x32, batch 128, ours against eager PyTorch, in turn.

usage: distillation.py EDGECOMPRESS OUTPUT [--threads 1 2] [--images 1280] [--epochs 4] [--rounds 3]

The teacher is asked once (cached), or for every batch (cache_mib 0); eager PyTorch asks it for every batch. Ours is the
time of the epochs after the first two, as the difference of two runs, so that loading and asking ahead drop out; the
column "whole step" has them in it. Each process is told its threads and, for eager PyTorch, warmed up by two batches.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

BATCH, SHORT = 128, 2
FORMS = {"cached": {}, "asked for every batch": {"cache_mib": 0}}


class Block(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.added = stride, width - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], [0, 0, 0, 0, self.added // 2, self.added // 2])
        return F.relu(x + y)


class ResNet(nn.Module):
    """He et al. 2015, section 4.2: 6 n + 2 layers."""

    def __init__(self, n):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for width in (16, 32, 64):
            for i in range(n):
                blocks.append(Block(inputs, width, 2 if i == 0 and width > 16 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.bn(self.conv(x)))).mean([2, 3]))


def make(n, images):
    """Statistics from a few batches, so that no activation fades away."""
    torch.manual_seed(n)
    network = ResNet(n)
    with torch.no_grad():
        for batch in images[:2 * BATCH].split(BATCH):
            network(batch)
    return network.eval()


def train_eagerly(folder, threads, steps):
    torch.set_num_threads(threads)
    data = numpy.load(folder / "train.npz")
    images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    student, teacher = make(3, images).train(), make(9, images)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    started = 0
    for step in range(steps + 2):
        if step == 2:
            started = time.perf_counter()
        chosen = torch.randint(len(images), (BATCH,))
        batch = images[chosen]
        with torch.no_grad():
            taught = teacher(batch)
        output = student(batch)
        soft = F.kl_div(F.log_softmax(output / 4, 1), F.log_softmax(taught / 4, 1), reduction="batchmean", log_target=True)
        loss = 0.9 * 16 * soft + 0.1 * F.cross_entropy(output, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    print(steps * BATCH / (time.perf_counter() - started))


def seconds_of_ours(arguments, folder, threads, epochs, options):
    recipe = {
        "name": "distillation", "threads": threads,
        "model": {"path": "student.pt", "inputs": [{"shape": [1, 3, 32, 32]}]},
        "data": {"train": {"source": "npz", "path": "train.npz", "inputs": ["images"], "target": "labels",
                           "batch_size": BATCH}},
        "evaluation": {"latency": {"repeats": 1}},
        "passes": [{"pass": "distill", "teacher": "teacher.pt", "epochs": epochs, "keep_best": False, **options}],
        "output": {"directory": "out", "overwrite": True},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    subprocess.run([arguments.edgecompress, "--quiet", "run", "--no-cache", folder / "recipe.json"], check=True,
                   stdout=subprocess.DEVNULL, env=environment(threads))
    return json.loads((folder / "out" / "report.json").read_text())["steps"][0]["seconds"]


def environment(threads):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}


def measure(arguments, folder, threads):
    speeds = {"eager PyTorch": [], **{name: [] for name in FORMS}}
    whole = {name: [] for name in FORMS}
    for _ in range(arguments.rounds):
        steps = arguments.epochs * arguments.images // BATCH
        eager = subprocess.run([sys.executable, __file__, "--eager", folder, str(threads), str(steps)], check=True,
                               capture_output=True, text=True, env=environment(threads))
        speeds["eager PyTorch"].append(float(eager.stdout))
        for name, options in FORMS.items():
            short = seconds_of_ours(arguments, folder, threads, SHORT, options)
            full = seconds_of_ours(arguments, folder, threads, SHORT + arguments.epochs, options)
            speeds[name].append(arguments.epochs * arguments.images / (full - short))
            whole[name].append((SHORT + arguments.epochs) * arguments.images / full)
    eager = statistics.median(speeds["eager PyTorch"])
    for name, found in speeds.items():
        speed = statistics.median(found)
        all_in = f"{statistics.median(whole[name]):.0f}" if name in whole else ""
        print(f"| {threads} | {name} | {speed:.0f} | {speed / eager:.2f} | {all_in} |", flush=True)


def main():
    if sys.argv[1:2] == ["--eager"]:
        return train_eagerly(pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress", type=pathlib.Path)
    parser.add_argument("output")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=4, help="that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.edgecompress = arguments.edgecompress.resolve()
    folder = pathlib.Path(arguments.output).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.randn(arguments.images, 3, 32, 32)
    numpy.savez(folder / "train.npz", images=images.numpy(), labels=numpy.arange(arguments.images) % 10)
    torch.jit.script(make(3, images)).save(folder / "student.pt")
    torch.jit.script(make(9, images)).save(folder / "teacher.pt")
    print("| threads | | images/s | of eager | whole step |\n| --- | --- | --- | --- | --- |")
    for threads in arguments.threads:
        measure(arguments, folder, threads)


if __name__ == "__main__":
    main()
