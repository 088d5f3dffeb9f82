#!/usr/bin/env python3
"""PyTorch's side of bench_ddp: one of two processes that train in DistributedDataParallel over gloo.

    torch_ddp.py --model cnn|mlp|encoder --batch N --lr X --folder DIR --rank R --ranks N --port P

Starts from the parameters, inputs and labels that bench_train_step has written to DIR, with SGD and DDP's defaults (buckets of
25 MB, gradients set to none). The encoder is transformers' own BERT, without dropout. Then reads commands, a line each, on every rank; rank 0 answers with a line:
    run N     N steps; the milliseconds they took, from and to a barrier
    save FILE the parameters, float32, in order
"""
import argparse
import sys
import time

import numpy
import torch
import torch.distributed as dist
from torch import nn


def build(model):
    if model == "cnn":
        return nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))
    if model == "encoder":
        import transformers
        return transformers.BertForSequenceClassification(transformers.BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
            max_position_embeddings=512, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=10))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                         nn.Linear(4096, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["cnn", "mlp", "encoder"], required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--lr", type=float, required=True)
    for name in ("batch", "rank", "ranks", "port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{options.port}", rank=options.rank,
                            world_size=options.ranks)

    def read(name, kind):
        return torch.from_numpy(numpy.fromfile(f"{options.folder}/{name}", kind))

    model = build(options.model)
    parameters = list(model.parameters())
    if options.model == "encoder":  # here both sides have the same names, in the order that Atoll's has
        with open(f"{options.folder}/names") as file:
            names = file.read().split()
        if sorted(names) != sorted(name for name, _ in model.named_parameters()):
            sys.exit("the model's parameters have other names than Atoll's")
        parameters = [model.get_parameter(name) for name in names]
    values, offset = read("parameters", numpy.float32), 0
    with torch.no_grad():
        for parameter in parameters:
            count = parameter.numel()
            parameter.copy_(values[offset:offset + count].view_as(parameter))
            offset += count
    if offset != values.numel():
        sys.exit(f"the model has {offset} parameters, Atoll's {values.numel()}")
    if options.model == "encoder":
        inputs = read(f"inputs.{options.rank}", numpy.int64).view(options.batch, -1)
    else:
        inputs = read(f"inputs.{options.rank}", numpy.float32).view(options.batch, 1, 28, 28)
    labels = read(f"labels.{options.rank}", numpy.int64)
    network = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=options.lr)
    loss = nn.CrossEntropyLoss()

    def say(line):
        if options.rank == 0:
            print(line, flush=True)

    say(f"ready: torch {torch.__version__}, gloo, {options.ranks} processes")
    for line in sys.stdin:
        verb, argument = line.split()
        if verb == "save":
            if options.rank == 0:
                flat = torch.cat([p.detach().flatten() for p in parameters])
                flat.numpy().tofile(argument)
            say("saved")
            continue
        dist.barrier()
        begin = time.perf_counter()
        for _ in range(int(argument)):
            optimizer.zero_grad(set_to_none=True)
            output = network(inputs)
            loss(output if torch.is_tensor(output) else output.logits, labels).backward()
            optimizer.step()
        dist.barrier()
        say((time.perf_counter() - begin) * 1e3)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
