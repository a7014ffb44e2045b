"""Works on the GPU with PyTorch, and says what PyTorch's profiler, by CUPTI, has seen of it.

Says that everything is loaded, waits for a line, works under the profiler, prints the calls into
CUDA that it has seen as one line of JSON, and waits for another line before it ends.
"""

import json
import sys

import torch
from torch.profiler import ProfilerActivity, profile

STEPS = 500


def work(steps):
    """Matrix products, element-wise kernels and copies both ways."""
    host = torch.randn(256, 256)
    for _ in range(steps):
        device = host.to("cuda")
        device = torch.relu(device @ device) * 0.5
        device.sum().cpu()
    torch.cuda.synchronize()


def main():
    # Libraries choose their kernels, and allocate their work space, at first use.
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]):
        work(3)
    print("Loaded", flush=True)
    sys.stdin.readline()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        work(STEPS)
    calls = {
        event.key: event.count
        for event in profiler.key_averages()
        if event.key.startswith(("cuda", "cu"))
    }
    print(json.dumps({"calls": calls}), flush=True)
    sys.stdin.readline()


main()
