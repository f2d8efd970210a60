#!/usr/bin/python3
"""How near --dry-run comes to the run after it: parameters, MACs, bytes, memory and time of every step.

usage: forecast.py EDGECOMPRESS OUTPUT [--rounds 3] [--threads 1]

The demo network through the quickstart recipe and through other steps, on built-in images; each round anew.
"""
import argparse
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ADAMW = {"name": "adamw", "lr": 0.001}
RECIPES = {
    "quickstart": None,
    "channels": [{"pass": "prune_channels", "ratio": 0.4}, {"pass": "finetune", "epochs": 4, "optimizer": ADAMW},
                 {"pass": "quantize_int8", "mode": "static", "observer": "entropy"}],
    "low rank": [{"pass": "low_rank"}, {"pass": "distill", "teacher": "original", "epochs": 3, "optimizer": ADAMW},
                 {"pass": "quantize_int8", "mode": "static", "training": {"epochs": 2}}],
}
FIGURES = (("parameters", lambda step: step["evaluation"]["size"]["parameters"]),
           ("macs", lambda step: step["evaluation"]["macs"]),
           ("file_bytes", lambda step: step["evaluation"]["size"]["file_bytes"]),
           ("peak_memory_bytes", lambda step: step["peak_memory_bytes"]),
           ("seconds", lambda step: step["seconds"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    demo = arguments.output / "demo"
    call = lambda *words: subprocess.run([arguments.edgecompress, "--quiet", *map(str, words)], check=False,
                                         stdout=subprocess.DEVNULL).returncode
    call("demo", "--output", demo, "--overwrite", "--threads", arguments.threads)
    print("| recipe | step | parameters | MACs | file | memory | time, s | time, fact / forecast |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, passes in RECIPES.items():
        rows = {}
        for number in range(arguments.rounds):
            output = arguments.output / "run"
            command = ["run", HERE.parents[1] / "configs" / "quickstart.json", "--model", demo / "model.pt",
                       "--output", output, "--overwrite", "--threads", arguments.threads, "--set", f"seed={number}",
                       "--cache", arguments.output / f"cache-{name.replace(' ', '-')}-{number}", "--set", "gates={}"]
            if passes:
                command += ["--set", f"passes={json.dumps(passes)}"]
            assert call(*command, "--dry-run") == 0 and call(*command) == 0
            for index, step in enumerate(json.loads((output / "report.json").read_text())["steps"]):
                assert step["cached_since"] is None, "an earlier round's cache lies there"
                row = rows.setdefault(f"{index + 1} {step['pass']}", [])
                row.append([fact(step) / step["forecast"][figure] for figure, fact in FIGURES] + [step["seconds"]])
        for step, ratios in rows.items():
            spans = [" to ".join(f"{value:.3f}" for value in sorted({min(column), max(column)}))
                     for column in list(zip(*ratios))]
            print(f"| {name} | {step} | {spans[0]} | {spans[1]} | {spans[2]} | {spans[3]} | {spans[5]} | {spans[4]} |",
                  flush=True)


if __name__ == "__main__":
    main()
