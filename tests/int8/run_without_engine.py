"""Stock PyTorch without an INT8 engine runs FOLDER/model.pt on FOLDER/batch.tensors.

Prints the largest difference to the outputs there. Exits with 77 without PyTorch.
"""
import sys

try:
    import torch
except ImportError:
    sys.exit(77)

folder = sys.argv[1]
torch.backends.quantized.engine = "none"
# C++ pickles lists of tensors by a function that the default from 2.6 on, weights only, refuses.
batch = torch.load(f"{folder}/batch.tensors", weights_only=False)
with torch.no_grad():
    output = torch.jit.load(f"{folder}/model.pt")(*batch["inputs"])
print((output - batch["outputs"][0]).abs().max().item())
