#!/usr/bin/python3
"""A zoo of small models, good and bad, through `edgecompress batch` at --jobs 1 and --jobs 2.

Prints what became of each kind of model, the ratio of the wall times, and the controller's resident
memory over time; says at the end whether it was as it should be.

    tools/bench/zoo.py --binary build/release/edgecompress [--models 60] [--folder zoo-bench] [--threads 2]

Needs stock PyTorch, for the models. Of every 20 models 15 are good, and one each is corrupt, cut off,
hanging, memory-hungry and crashing.
"""
import argparse
import collections
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import torch

EXPECTED = {"good": "done", "corrupt": "bad model", "cut": "bad model", "hanging": "timed out",
            "hungry": "out of memory", "crashing": "crashed"}
BAD_KINDS = ("corrupt", "cut", "hanging", "hungry", "crashing")


class Bad(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.layers = network(seed)


class Hanging(Bad):
    def forward(self, x):
        i = x.size(0)
        while i > 0:
            i = i % 1000 + 1
        return self.layers(x)


class Hungry(Bad):
    def forward(self, x):
        kept = [x]
        while len(kept) > 0:
            kept.append(torch.ones([16, 1024, 1024]) + x.sum())  # no constant to be folded
        return self.layers(x)


class Crashing(Bad):
    def forward(self, x):
        # LibTorch does not check the indices.
        far = torch.full([1, 1], 1 << 45, dtype=torch.long)
        wild = torch._sparse_coo_tensor_unsafe(far, torch.ones([1]), [4])
        return self.layers(x) + wild.to_dense().sum()


def network(seed):
    """A small convolutional network; each seed has a shape of its own."""
    torch.manual_seed(seed)
    width = 8 + 4 * (seed % 4)
    layers = [torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    for _ in range(1 + seed % 3):
        layers += [torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 10)]
    model = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(16, 3, 16, 16))
    return model.eval()


def save_model(kind, path, seed):
    if kind == "corrupt":
        path.write_bytes(b"this is no model\n" * 100)
        return
    if kind in ("good", "cut"):
        torch.jit.script(network(seed)).save(str(path))
        if kind == "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return
    bad = {"hanging": Hanging, "hungry": Hungry, "crashing": Crashing}[kind](seed)
    torch.jit.script(bad.eval()).save(str(path))


def make_zoo(folder, count):
    folder.mkdir(parents=True)
    for i in range(count):
        kind = BAD_KINDS[(i % 20) // 4] if i % 4 == 3 else "good"
        save_model(kind, folder / f"{i:03}-{kind}.pt", i)


def write_recipe(path):
    path.write_text(json.dumps({
        "name": "zoo",
        "model": {"path": "none.pt", "inputs": [{"shape": [1, 3, 16, 16]}]},
        "passes": [{"pass": "fold_batch_norm"}, {"pass": "prune_channels", "ratio": 0.25},
                   {"pass": "quantize_int8", "mode": "dynamic"}],
        "evaluation": {"latency": {"repeats": 20}}}))


def resident_kib(pid):
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def run_batch(arguments, folder, jobs):
    """Wall seconds, the rows, and the controller's resident KiB, ten times a second."""
    command = [arguments.binary, "batch", str(folder / "zoo"), "--recipe", str(folder / "recipe.json"),
               "--output", str(folder / f"jobs{jobs}"), "--jobs", str(jobs), "--threads", str(arguments.threads),
               "--memory", arguments.memory, "--time-limit", arguments.time_limit, "--grace", "2s", "--no-cache",
               "--junit", str(folder / f"jobs{jobs}.xml")]
    start = time.monotonic()
    with open(folder / f"jobs{jobs}.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    memory = []
    while process.poll() is None:
        memory.append(resident_kib(process.pid))
        time.sleep(0.1)
    seconds = time.monotonic() - start
    rows = json.loads((folder / f"jobs{jobs}" / "zoo.json").read_text())["models"]
    return seconds, process.returncode, rows, [kib for kib in memory if kib]


def report_run(jobs, seconds, code, rows, memory):
    """Whether all is as it should be."""
    print(f"--jobs {jobs}: {seconds:.1f} s, exit code {code}")
    counts = collections.Counter((row["name"].split("-")[1], row["state"]) for row in rows)
    for (kind, state), count in sorted(counts.items()):
        print(f"  {count:3} {kind}: {state}")
    reasons = {row["name"].split("-")[1]: row["reason"] for row in rows if row["reason"]}
    for kind, reason in sorted(reasons.items()):
        print(f"    {kind}: {reason[:150]}")
    tenth = max(1, len(memory) // 10)
    parts = [statistics.median(memory[i:i + tenth]) for i in range(0, tenth * 10, tenth) if memory[i:i + tenth]]
    print("  controller's memory by tenths of the run, MiB: "
          + " ".join(f"{kib / 1024:.1f}" for kib in parts))
    is_flat = parts[-1] <= 1.1 * parts[min(1, len(parts) - 1)]
    print(f"  flat: {'yes' if is_flat else 'NO'}, at most {max(memory) / 1024:.1f} MiB")
    wrong = [row["name"] for row in rows if row["state"] != EXPECTED[row["name"].split("-")[1]]]
    if wrong:
        print("  NOT as expected: " + ", ".join(wrong))
    return is_flat and not wrong and code == 6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("zoo-bench"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--time-limit", default="45s")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    make_zoo(arguments.folder / "zoo", arguments.models)
    write_recipe(arguments.folder / "recipe.json")
    torch.set_num_threads(1)

    is_good, seconds = True, {}
    for jobs in (1, 2):
        seconds[jobs], code, rows, memory = run_batch(arguments, arguments.folder, jobs)
        is_good = report_run(jobs, seconds[jobs], code, rows, memory) and is_good
    ratio = seconds[2] / seconds[1]
    print(f"wall time at --jobs 2 over --jobs 1: {ratio:.2f} (goal: at most 0.6)")
    different = [path.parent.name for path in sorted(arguments.folder.glob("jobs1/*/model.pt"))
                 if path.read_bytes() != (arguments.folder / "jobs2" / path.parent.name / "model.pt").read_bytes()]
    print(f"models that differ between the two: {len(different)} {' '.join(different)}")
    return 0 if is_good and ratio <= 0.6 and not different else 1


if __name__ == "__main__":
    sys.exit(main())
