#!/usr/bin/env python3
"""Writes what PyTorch and transformers make of small models, for references_test.cc to compare with.

    .deps/references/python models.py [FOLDER]

FOLDER (models/ by default) gets bert/, roberta/ and llama/, tiny checkpoints as transformers saves them, and
NAME.json for each case: inputs, logits, objective and gradients. Parameters that no checkpoint gives are those of
`formula`, which C++ repeats. The same files every time.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent / "models"
SAMPLES = 16  # elements of a gradient that are kept
IGNORED = -100


def noise(count, phase):
    """float64 [count] in [-1, 1): a hash of the index and `phase`."""
    x = (np.arange(count, dtype=np.uint64) * 2654435761 + phase * 40503 + 1) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2**31 - 1


def formula(name, shape):
    values = noise(math.prod(shape), sum(name.encode()))
    if len(shape) > 1:
        values *= math.sqrt(3 / math.prod(shape[1:]))
    else:
        values = values * 0.1 + (1 if name.endswith("weight") else 0)
    return torch.tensor(values.astype(np.float32)).reshape(shape)


def fill(model, names=None):
    """Sets all parameters, or those named, by the formula."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if names is None or name in names:
                parameter.copy_(formula(name, tuple(parameter.shape)))


def flat(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().double().flatten().tolist()]


class Case:
    def __init__(self, folder, name, model, inputs, **recipe):
        self.path = folder / f"{name}.json"
        self.model = model
        self.json = {"model": recipe, "inputs": {key: {"shape": list(value.shape), "values": flat(value.float())}
                                                 for key, value in inputs.items()}}

    def write(self, outputs, objective, counted, correct, loss_sum):
        self.model.zero_grad()
        objective.backward()
        gradients = {}
        for name, parameter in self.model.named_parameters():
            gradient = parameter.grad
            if not parameter.requires_grad or gradient is None:
                continue
            values = gradient.flatten()
            picked = values[torch.linspace(0, len(values) - 1, min(SAMPLES, len(values))).long()]
            gradients[name] = {"norm": float(gradient.double().norm()), "size": len(values), "values": flat(picked)}
        self.json.update({"outputs": flat(outputs), "shape": list(outputs.shape), "objective": float(objective.detach()),
                          "counted": counted, "correct": correct, "loss_sum": loss_sum, "gradients": gradients})
        self.path.write_text(json.dumps(self.json, separators=(",", ":")) + "\n")


def classes(case, model, inputs, labels, **more):
    logits = model(inputs, **more)
    logits = getattr(logits, "logits", logits)
    objective = F.cross_entropy(logits, labels, reduction="sum")
    case.write(logits, objective, len(labels), int((logits.argmax(1) == labels).sum()), float(objective.detach()))


def language(case, model, ids, labels, **more):
    logits = model(input_ids=ids, **more).logits
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED)
    each = each.view(labels.shape)
    counted = (labels != IGNORED).sum(1)
    objective = (each.sum(1) / counted.clamp(min=1)).sum()
    case.write(logits, objective, int(counted.sum()), int((logits.argmax(2) == labels).sum()), float(each.detach().sum()))


# Images.

class Cnn(nn.Module):
    def __init__(self, channels, padding, hidden, features):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels[0], 5, padding=padding)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 5, padding=padding)
        widths = [features, *hidden, 10]
        self.dense = len(widths) - 1
        for i in range(self.dense):
            setattr(self, f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        x = x.flatten(1)
        for i in range(self.dense):
            x = getattr(self, f"fc{i + 1}")(x if i == 0 else F.relu(x))
        return x


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 24), nn.Linear(24, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.GroupNorm(32, after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.GroupNorm(32, after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.GroupNorm(32, after))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Resnet18(nn.Module):
    def __init__(self, channels, small, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.GroupNorm(32, 64)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        before = 64
        for stage, width in enumerate((64, 128, 256, 512), 1):
            blocks = [Block(before, width, 1 if stage == 1 else 2), Block(width, width, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class TextClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(50, 8, mode="mean")
        self.fc = nn.Linear(8, 4)

    def forward(self, inputs, offsets):
        return self.fc(self.embedding(inputs, offsets))


def image_cases(folder):
    kinds = {"mlp": (Mlp(), {"kind": "mlp", "hidden": [24]}),
             "cnn": (Cnn([6, 16], 0, [120, 84], 256), {"kind": "cnn", "channels": [6, 16]}),
             "cnn_padded": (Cnn([32, 64], 2, [16], 3136), {"kind": "cnn", "channels": [32, 64], "hidden": [16]}),
             "resnet18": (Resnet18(1, True, 10), {"kind": "resnet18"}),
             "resnet18_large": (Resnet18(3, False, 10), {"kind": "resnet18"})}
    for name, (model, recipe) in kinds.items():
        # More than 64 pixels a side, and odd at every halving; or as Fashion-MNIST's.
        shape = (3, 3, 67, 67) if name == "resnet18_large" else (3, 1, 28, 28)
        images = torch.tensor(noise(math.prod(shape), 7).astype(np.float32)).view(shape)
        labels = torch.tensor([1, 4, 9])
        fill(model)
        case = Case(folder, name, model, {"labels": labels}, **recipe)
        case.json["noise"] = {"shape": shape, "phase": 7}
        classes(case, model, images, labels)


def bag_case(folder):
    model = TextClassifier()
    fill(model)
    inputs = torch.tensor([3, 7, 3, 49, 0, 12, 7])
    offsets = torch.tensor([0, 3, 3])  # the second text has no n-grams
    labels = torch.tensor([0, 3, 2])
    case = Case(folder, "text_classifier", model, {"inputs": inputs, "offsets": offsets, "labels": labels},
                kind="text-classifier", buckets=50, width=8, classes=4)
    classes(case, model, inputs, labels, offsets=offsets)


# Encoders and decoders.

VOCABULARY = 48
LENGTH = 10
MASK = torch.tensor([[1] * 10, [1] * 6 + [0] * 4, [1] * 3 + [0] * 7])


def tokens(phase, padding, mask=MASK):
    ids = torch.tensor((noise(mask.numel(), phase) + 1) * (VOCABULARY - 4) / 2).long().view(mask.shape) + 4
    return torch.where(mask == 1, ids.clamp(max=VOCABULARY - 1), padding)


def hidden_labels(ids):
    labels = torch.full_like(ids, IGNORED)
    for row, place in ((0, 2), (0, 7), (1, 1), (1, 5)):  # the third text has none
        labels[row, place] = (int(ids[row, place]) + 5) % VOCABULARY
    return labels


def encoder_config(norm, positions, **more):
    sizes = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                 intermediate_size=24, max_position_embeddings=positions, hidden_dropout_prob=0.0,
                 attention_probs_dropout_prob=0.0, initializer_range=0.3, **more)
    if norm == "post":
        return transformers.BertConfig(pad_token_id=0, **sizes)
    return transformers.RobertaPreLayerNormConfig(pad_token_id=1, layer_norm_eps=1e-12, type_vocab_size=2, **sizes)


def encoder_case(folder, name, norm, task, weights=None, lora=False):
    post = norm == "post"
    padding = 0 if post else 1
    first, second = tokens(3, padding), tokens(5, padding, MASK.flip(0))
    config = encoder_config(norm, LENGTH if post else LENGTH + 2)
    kinds = {"masked_lm": "ForMaskedLM", "classify": "ForSequenceClassification", "contrastive": "Model"}
    kind = getattr(transformers, ("Bert" if post else "RobertaPreLayerNorm") + kinds[task])
    config.num_labels = 3
    recipe = {"kind": "encoder", "norm": norm, "task": task, "layers": 2, "heads": 2, "hidden_size": 16,
              "intermediate_size": 24, "max_length": LENGTH, "classes": 3, "temperature": 0.5, "weights": weights or "",
              "padding_id": padding}
    if weights:
        model, info = kind.from_pretrained(folder / weights, num_labels=3, output_loading_info=True)
        new = set(info["missing_keys"])
        fill(model, new)
    else:
        model = kind(config)
        new = None
        fill(model)
    if lora:
        recipe["lora"] = {"rank": 2, "alpha": 3.0, "layers": ["*.query", "*.output.dense"]}
        new = adapt(model, lambda layer: layer.endswith((".query", ".output.dense")), 2, 3.0, head="classifier")
        fill(model, new)
    inputs = {"inputs": first, "mask": MASK}
    if task == "contrastive":
        inputs |= {"pair_inputs": second, "pair_mask": MASK.flip(0)}
    if task == "masked_lm":
        inputs["labels"] = hidden_labels(first)
    if task == "classify":
        inputs["labels"] = torch.tensor([2, 0, 1])
    case = Case(folder, name, model, inputs, **recipe)
    if new is not None:
        case.json["formula"] = sorted(new)
    if task == "masked_lm":
        language(case, model, first, inputs["labels"], attention_mask=MASK)
    elif task == "classify":
        classes(case, model, first, inputs["labels"], attention_mask=MASK)
    else:
        contrast(case, model, first, second, 0.5)


def embed(model, ids, mask):
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    weight = mask.unsqueeze(2).float()
    return F.normalize((hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9))


def contrast(case, model, first, second, temperature):
    for parameter in model.pooler.parameters():
        parameter.requires_grad_(False)
    a, b = embed(model, first, MASK), embed(model, second, MASK.flip(0))
    scores = a @ b.T / temperature
    labels = torch.arange(len(scores))
    objective = F.cross_entropy(scores, labels, reduction="sum")
    case.write(a, objective, len(labels), int((scores.argmax(1) == labels).sum()), float(objective.detach()))


def decoder_case(folder, name, weights=None, tied=True, lora=False):
    recipe = {"kind": "decoder", "layers": 2, "heads": 4, "kv_heads": 2, "hidden_size": 16, "intermediate_size": 24,
              "max_length": LENGTH, "weights": weights or "", "padding_id": 0}
    if weights:
        model = transformers.LlamaForCausalLM.from_pretrained(folder / weights)
    else:
        model = transformers.LlamaForCausalLM(llama_config(tie_word_embeddings=tied))
        fill(model)
    new = None
    if lora:
        recipe["lora"] = {"rank": 2, "alpha": 4.0, "layers": ["*.q_proj", "*.v_proj", "*.down_proj"]}
        new = adapt(model, lambda layer: layer.endswith(("q_proj", "v_proj", "down_proj")), 2, 4.0, head=None)
        fill(model, new)
    ids = tokens(9, 0)
    labels = torch.full_like(ids, IGNORED)
    labels[:, :-1] = torch.where(MASK[:, 1:] == 1, ids[:, 1:], IGNORED)
    case = Case(folder, name, model, {"inputs": ids, "mask": MASK, "labels": labels}, **recipe)
    if new is not None:
        case.json["formula"] = sorted(new)
    language(case, model, ids, labels)


def llama_config(**more):
    return transformers.LlamaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                                    num_key_value_heads=2, intermediate_size=24, max_position_embeddings=LENGTH,
                                    initializer_range=0.3, pad_token_id=0, **more)


# Adapters, as PEFT (and the paper) have them.

class Adapted(nn.Linear):
    def __init__(self, layer, rank, alpha):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.weight, self.bias, self.scale = layer.weight, layer.bias, alpha / rank
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False)

    def forward(self, x):
        return super().forward(x) + self.lora_B(self.lora_A(x)) * self.scale


def adapt(model, chosen, rank, alpha, head):
    """Puts adapters on the layers chosen and freezes all but them and the head; the names of the adapters."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and chosen(name)]
    for name, layer in layers:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, Adapted(layer, rank, alpha))
    for name, parameter in model.named_parameters():
        if head is not None and (name.startswith(head) or ".pooler." in name):
            parameter.requires_grad_(True)
    return {name for name, _ in model.named_parameters() if ".lora_" in name}


def checkpoints(folder):
    torch.manual_seed(1)
    transformers.BertForMaskedLM(encoder_config("post", 12)).save_pretrained(folder / "bert")
    transformers.RobertaPreLayerNormForMaskedLM(encoder_config("pre", 14)).save_pretrained(folder / "roberta")
    transformers.LlamaForCausalLM(llama_config(rope_theta=500.0)).save_pretrained(folder / "llama")
    for name in ("bert", "roberta", "llama"):
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        (folder / name / "model.safetensors").chmod(0o644)


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    checkpoints(folder)
    image_cases(folder)
    bag_case(folder)
    for norm, weights in (("post", "bert"), ("pre", "roberta")):
        for task in ("masked_lm", "classify", "contrastive"):
            encoder_case(folder, f"encoder_{norm}_{task}", norm, task)
        encoder_case(folder, f"{weights}_masked_lm", norm, "masked_lm", weights)
        encoder_case(folder, f"{weights}_classify", norm, "classify", weights)
    encoder_case(folder, "bert_contrastive", "post", "contrastive", "bert")
    encoder_case(folder, "bert_classify_lora", "post", "classify", lora=True)
    decoder_case(folder, "decoder")
    decoder_case(folder, "llama", "llama")
    decoder_case(folder, "decoder_lora", lora=True)


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    make(target)
    for path in sorted(target.glob("*.json")):
        print(f"{path}: {path.stat().st_size} bytes")
