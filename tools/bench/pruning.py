#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 after prune_weights alone: no training, no labels.

usage: pruning.py EDGECOMPRESS SHARED OUTPUT [--calibration 256]

SHARED holds models/cifar10_resnet20_scripted.pt, data/cifar10_train_4660.npz and cifar10_test_932.npz. A row for each
ratio and for 2:4, a column for each criterion, uniform and by sensitivity.
"""
import argparse
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
CRITERIA = ("magnitude", "wanda", "sparsegpt")
ALLOCATIONS = ("uniform", "sensitivity")
RATIOS = (0.5, 0.7, 0.8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--calibration", type=int, default=256, help="samples of the training set")
    arguments = parser.parse_args()
    shared = pathlib.Path(arguments.shared).resolve()

    steps = [{"ratio": ratio, "criterion": criterion, "allocation": allocation}
             for ratio in RATIOS for allocation in ALLOCATIONS for criterion in CRITERIA]
    steps += [{"pattern": "n:m", "criterion": criterion} for criterion in CRITERIA]
    # A gate that no step can meet: each is measured and rolled back, so that the next starts from the original.
    gate = {"max_size_ratio": 0.001, "on_fail": "rollback"}
    settings = {
        "data/train/path": f"{shared}/data/cifar10_train_4660.npz",
        "data/test/path": f"{shared}/data/cifar10_test_932.npz",
        "data/calibration/limit": arguments.calibration,
        "data/validation/split": 0.01,
        "evaluation/latency/repeats": 1,
        "gates": {},
        "passes": [{"pass": "prune_weights", "gate": gate, **step} for step in steps],
    }
    command = [arguments.edgecompress, "run", HERE / "cifar10.json", "--overwrite", "--output", arguments.output,
               "--model", f"{shared}/models/cifar10_resnet20_scripted.pt"]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True)

    records = iter(json.loads((pathlib.Path(arguments.output) / "report.json").read_text())["steps"])
    columns = [f"{criterion}, {allocation}" for allocation in ALLOCATIONS for criterion in CRITERIA]
    print("| zeros |", " | ".join(columns), "|")
    print("| --- |" + " --- |" * len(columns))
    for ratio in RATIOS:
        row = [next(records) for _ in columns]
        assert all(abs(record["counts"]["sparsity"] - ratio) < 1e-4 for record in row)
        print(f"| {ratio} |", " | ".join(str(right(record)) for record in row), "|")
    print("| 2:4 |", " | ".join(str(right(record)) for record in records), "|" + " – |" * len(CRITERIA))


def right(record):
    return record["evaluation"]["test"]["correct"]


if __name__ == "__main__":
    main()
