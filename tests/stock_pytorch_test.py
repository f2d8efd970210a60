"""What the contract suite wrote, loaded by stock PyTorch: the same outputs, to the last bit.

usage: stock_pytorch_test.py FOLDER
FOLDER holds NAME.pt, and NAME.tensors with the inputs and the outputs that we computed.
"""
import glob
import os
import sys

try:
    import torch
except ImportError as error:
    print(f"skipped: stock PyTorch is not installed ({error})")
    sys.exit(77)


def main(folder):
    torch.backends.quantized.engine = "onednn" if "onednn" in torch.backends.quantized.supported_engines else "qnnpack"
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    files = sorted(glob.glob(os.path.join(folder, "*.pt")))
    wrong = []
    for path in files:
        model = torch.jit.load(path)
        # C++ pickles lists of tensors by a function that the default from 2.6 on, weights only, refuses.
        saved = torch.load(path[:-3] + ".tensors", weights_only=False)
        model.eval()
        with torch.no_grad():
            output = model(*saved["inputs"])
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        for ours, theirs in zip(saved["outputs"], outputs):
            if not torch.equal(ours, theirs):
                wrong.append(f"{os.path.basename(path)}: differs by {(ours - theirs).abs().max().item():.3g}")
    print(f"{len(files)} models loaded, {len(wrong)} with other outputs")
    print("\n".join(wrong))
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
