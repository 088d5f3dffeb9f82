"""A run's model, read with `safetensors` and evaluated on the raw test images with numpy alone."""
import json
import os

import numpy as np
from safetensors.numpy import load_file

import harness


def conv(x, weight, bias, padding):
    """[n, c, h, w] with [o, c, k, k]: a correlation, as torch's conv2d."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True) + bias[None, :, None, None]


def pool(x):
    n, c, h, w = x.shape
    return x[:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def relu(x):
    return np.maximum(x, 0)


def logits(config, tensors, x):
    """The layers in the order of their names' numbers; 4-d weights are convolutions, 2-d ones dense."""
    names = [n[:-len(".weight")] for n in tensors if n.endswith(".weight")]
    names.sort(key=lambda n: (tensors[n + ".weight"].ndim != 4, n))
    for i, name in enumerate(names):
        weight, bias = tensors[name + ".weight"], tensors[name + ".bias"]
        if weight.ndim == 4:
            x = pool(relu(conv(x, weight, bias, config.get("padding", 0))))
        else:
            x = x.reshape(len(x), -1) @ weight.T + bias
            if i + 1 < len(names):
                x = relu(x)
    return x


def evaluate(folder, limit=None):
    """Correct answers and examples on the public test set."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    images = harness.idx("t10k-images-idx3-ubyte.gz")[:limit]
    labels = harness.idx("t10k-labels-idx1-ubyte.gz")[:limit]
    x = (images[:, None].astype(np.float32) / 255 - 0.2860) / np.float32(0.3530)
    correct = 0
    for start in range(0, len(x), 500):
        guess = logits(config, tensors, x[start:start + 500]).argmax(axis=1)
        correct += int((guess == labels[start:start + 500]).sum())
    return correct, len(x)
