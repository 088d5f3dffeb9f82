#!/usr/bin/env python3
"""Core-seconds of Flower's SecAgg+: one client's part of a round, and the server's with one client lost.

    VENV/bin/python flower_secagg.py --coordinates 4000000 --sites 64 [--repeats 2]

Complete graph, the workflow's defaults (clipping range 8, 2^22 levels, modulus 2^32), one float32 array. The client runs
the library's own stage functions; the server the library's functions in the order in which its workflow calls them, for
replies that lie in memory. Prints one JSON object: for each side `per_vector_s`, what grows with the coordinates, and
`constant_s`, what does not (keys, shares). The least of the repeats, CPU time of this process, one thread.
"""

import argparse
import importlib
import json
import logging
import os
import time

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import flwr  # noqa: E402
import numpy as np  # noqa: E402
from flwr.common import bytes_to_ndarray, ndarray_to_bytes, ndarrays_to_parameters  # noqa: E402
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic  # noqa: E402
from flwr.common.secure_aggregation.crypto import shamir, symmetric_encryption  # noqa: E402
from flwr.common.secure_aggregation.quantization import dequantize  # noqa: E402
from flwr.common.secure_aggregation.secaggplus_constants import Key  # noqa: E402
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen  # noqa: E402
from flwr.supercore.primitives import asymmetric  # noqa: E402

stages = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

CLIP = 8.0
LEVELS = 1 << 22
MODULUS = 1 << 32
FEW = 100  # coordinates that cost nothing: what is left does not grow with them


def cpu_s(work, repeats):
    """Least CPU seconds of `work`."""
    costs = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        costs.append(time.process_time() - start)
    return min(costs)


class Clients:
    """All clients of a round, up to the shares that they have sent each other."""

    def __init__(self, count, threshold):
        config = {Key.SAMPLE_NUMBER: count, Key.SHARE_NUMBER: count, Key.THRESHOLD: threshold,
                  Key.CLIPPING_RANGE: CLIP, Key.TARGET_RANGE: LEVELS, Key.MOD_RANGE: MODULUS, Key.MAX_WEIGHT: 1000.0}
        self.states = {}
        self.keys_s = []
        keys = {}
        for node in range(1, count + 1):
            state = stages.SecAggPlusState()
            state.nid = node
            start = time.process_time()
            said = stages._setup(state, dict(config))
            self.keys_s.append(time.process_time() - start)
            keys[str(node)] = [said[Key.PUBLIC_KEY_1], said[Key.PUBLIC_KEY_2]]
            self.states[node] = state
        self.envelopes = {node: ([], []) for node in self.states}  # by receiver: senders, ciphertexts
        for node, state in self.states.items():
            start = time.process_time()
            said = stages._share_keys(state, dict(keys))
            self.keys_s[node - 1] += time.process_time() - start
            for receiver, text in zip(said[Key.DESTINATION_LIST], said[Key.CIPHERTEXT_LIST]):
                self.envelopes[receiver][0].append(node)
                self.envelopes[receiver][1].append(text)

    def mask(self, node, parameters):
        senders, texts = self.envelopes[node]
        return stages._collect_masked_vectors(
            self.states[node], {Key.SOURCE_LIST: senders, Key.CIPHERTEXT_LIST: texts}, 500, parameters)


def client_side(clients, coordinates, repeats):
    node = len(clients.states) // 2  # adds half of its masks, subtracts the others

    def masking_s(size):
        values = np.random.default_rng(1).normal(0, 0.05, size).astype(np.float32)
        parameters = ndarrays_to_parameters([values])
        return cpu_s(lambda: clients.mask(node, parameters), repeats)

    constant = masking_s(FEW)
    whole = masking_s(coordinates)
    return {"per_vector_s": whole - constant, "constant_s": constant + float(np.median(clients.keys_s))}


def server_side(clients, coordinates, repeats):
    count = len(clients.states)
    lost, *alive = clients.states
    lost_key = clients.states[lost].sk1
    public = clients.states[lost].public_keys_dict
    seeds = [clients.states[node].rd_seed for node in alive]
    random = np.random.default_rng(2)

    def summing_s(size):
        # A few replies stand for all: their values do not matter, and a server's would not fit into memory.
        replies = [[ndarray_to_bytes(np.array([i])), ndarray_to_bytes(random.integers(0, MODULUS, size))]
                   for i in range(1, 4)]

        def round_of_the_server():
            total = None
            for i in range(len(alive)):
                vector = [bytes_to_ndarray(part) for part in replies[i % len(replies)]]
                total = vector if total is None else arithmetic.parameters_addition(total, vector)
            total = arithmetic.parameters_mod(total, MODULUS)
            shapes = arithmetic.get_parameters_shape(total)
            for seed in seeds:
                total = arithmetic.parameters_subtraction(total, pseudo_rand_gen(seed, MODULUS, shapes))
            for node in alive:
                shared = symmetric_encryption.generate_shared_key(
                    asymmetric.bytes_to_private_key(lost_key), asymmetric.bytes_to_public_key(public[node][0]))
                mask = pseudo_rand_gen(shared, MODULUS, shapes)
                merge = arithmetic.parameters_addition if lost > node else arithmetic.parameters_subtraction
                total = merge(total, mask)
            factor, mean = arithmetic.factor_extract(arithmetic.parameters_mod(total, MODULUS))
            for vector in dequantize(mean, CLIP, LEVELS):
                vector += -(len(alive) - 1) * CLIP
                vector *= LEVELS / max(int(factor), 1)

        return cpu_s(round_of_the_server, repeats)

    def combining_s(secret):
        # Everybody alive sends a share, and the workflow combines all it has got.
        shares = shamir.create_shares(secret, clients.states[lost].threshold, count)[:len(alive)]
        return cpu_s(lambda: shamir.combine_shares(shares), 3)

    constant = summing_s(FEW)
    whole = summing_s(coordinates)
    combining = len(alive) * combining_s(seeds[0]) + combining_s(lost_key)
    return {"per_vector_s": whole - constant, "constant_s": constant + combining, "shares_s": combining}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coordinates", type=int, default=4_000_000)
    parser.add_argument("--sites", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    clients = Clients(options.sites, max(2, round(2 * options.sites / 3)))
    print(json.dumps({
        "version": flwr.__version__,
        "coordinates": options.coordinates,
        "sites": options.sites,
        "site": client_side(clients, options.coordinates, options.repeats),
        "coordinator": server_side(clients, options.coordinates, options.repeats),
    }))


if __name__ == "__main__":
    main()
