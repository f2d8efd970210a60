#!/usr/bin/python3
"""Whether a teacher helps: a tiny MNIST student with labels alone, with labels and a teacher, and with a teacher alone.

usage: mnist_distillation.py EDGECOMPRESS SHARED OUTPUT [--seeds 1 2 3] [--images 1000] [--epochs 25]

Stock PyTorch writes teacher and students with random weights; finetune trains the teacher. Every arm has the same
images, epochs, batches, optimizer and, seed by seed, the same first weights. The arm without labels has a validation
set without labels too: it keeps the last weights. SHARED holds data/mnist_train.npz and data/mnist_test.npz.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
OPTIMIZER = {"name": "adamw", "lr": 0.02}
ARMS = {
    "labels": {"pass": "finetune", "keep_best": False},
    "labels and teacher": {"pass": "distill", "teacher": "teacher.pt", "keep_best": False},
    "teacher, no labels": {"pass": "distill", "teacher": "teacher.pt", "alpha": 1, "keep_best": False},
}


def cnn(widths):
    layers, inputs = [], 1
    for width in widths:
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def write(network, seed, path):
    torch.manual_seed(seed)
    network = network()
    torch.jit.script(network.eval()).save(path)
    return sum(parameter.numel() for parameter in network.parameters())


def run(arguments, model, step, settings):
    """The report of one pass."""
    data = arguments.shared.resolve() / "data"
    settings = {"data/train/path": f"{data}/mnist_train.npz", "data/train/limit": arguments.images,
                "data/test/path": f"{data}/mnist_test.npz", **settings, "passes": [step]}
    recipe = arguments.output / "recipe.json"
    recipe.write_text((HERE / "mnist_distillation.json").read_text())
    command = [arguments.edgecompress, "--quiet", "run", "--no-cache", recipe, "--overwrite", "--threads", "1", "--model", model,
               "--output", arguments.output / "run"]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((arguments.output / "run" / "report.json").read_text())


def right(report):
    return report["steps"][0]["evaluation"]["test"]["correct"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress", type=pathlib.Path)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--images", type=int, default=1000, help="of the training set; the teacher has them all")
    parser.add_argument("--epochs", type=int, default=25)
    arguments = parser.parse_args()
    arguments.edgecompress = arguments.edgecompress.resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)

    of_teacher = write(lambda: cnn([16, 32, 64]), 0, arguments.output / "untrained.pt")
    report = run(arguments, arguments.output / "untrained.pt",
                 {"pass": "finetune", "epochs": 3, "optimizer": {"name": "adamw", "lr": 0.005}},
                 {"data/train/limit": None, "data/train/batch_size": 64})
    (arguments.output / "run" / "model.pt").rename(arguments.output / "teacher.pt")
    student = lambda: cnn([6, 8, 12])
    of_student = write(student, 0, arguments.output / "student.pt")
    print(f"teacher: {of_teacher} parameters, {right(report)} of 10000 right; student: {of_student} parameters "
          f"({of_student / of_teacher:.3f})\n")
    print("| arm | right of 10000, by seed | mean | spread |\n| --- | --- | --- | --- |")
    for name, step in ARMS.items():
        found = []
        for seed in arguments.seeds:
            write(student, seed, arguments.output / "student.pt")
            labels = {} if "alpha" not in step else {"data/train/target": ""}
            found.append(right(run(arguments, arguments.output / "student.pt",
                                   {**step, "epochs": arguments.epochs, "optimizer": OPTIMIZER},
                                   {"seed": seed, **labels})))
        print(f"| {name} | {', '.join(map(str, found))} | {statistics.mean(found):.0f} | "
              f"{max(found) - min(found)} |", flush=True)


if __name__ == "__main__":
    main()
