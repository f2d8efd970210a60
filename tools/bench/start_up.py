#!/usr/bin/python3
"""How long commands take to start, against `import torch`, in one interleaved run.

usage: start_up.py EDGECOMPRESS RECIPE MODEL [--repeats 9]

"inspect MODEL" of a small model stands for the start of a run: LibTorch is loaded and the model read.
"""
import argparse
import resource
import statistics
import subprocess
import time


def measure(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("recipe")
    parser.add_argument("model")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    binary = arguments.edgecompress
    commands = {
        "import torch": ["/usr/bin/python3", "-c", "import torch"],
        "inspect": [binary, "inspect", arguments.model],
        "--help": [binary, "--help"],
        "validate": [binary, "validate", arguments.recipe],
        "schema": [binary, "schema"],
        "passes": [binary, "passes"],
        "completion": [binary, "completion", "bash"],
    }
    times = {name: [] for name in commands}
    for repeat in range(arguments.repeats + 1):
        for name, command in commands.items():
            figures = measure(command)
            if repeat > 0:
                times[name].append(figures)
    reference = statistics.median(wall for wall, _ in times["import torch"])
    for name, figures in times.items():
        wall = statistics.median(wall for wall, _ in figures)
        cpu = statistics.median(cpu for _, cpu in figures)
        print(f"{name:13} wall {wall * 1000:7.1f} ms  cpu {cpu * 1000:7.1f} ms  of import torch {wall / reference:.3f}")


if __name__ == "__main__":
    main()
