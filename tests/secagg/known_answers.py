#!/usr/bin/env python3
"""Computes the values that known_answer_test.cc pins, from the protocol's description alone.

A second implementation of one slot: four sites, of which one drops after its commit. Prints "suite name value" lines. Needs the
`cryptography` package; it is not run by the tests.
"""
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

SEED, SLOT, GROUP, ROUND = 1234, 7, 0, 4
RUN = bytes([1, 2, 3]) + bytes(29)
SITES = [3, 8, 13, 18]
SURVIVORS = [3, 8, 13]
THRESHOLD = 2 * len(SITES) // 3 + 1
SEGMENTS = [(5, 48, 50, 1.0), (21, 6, 8, 16.0), (300, 14, 16, 512.0)]  # length, value bits, sum bits, scale


def sha(data): return hashlib.sha256(data).digest()
def u8(value): return struct.pack("<B", value)
def u32(value): return struct.pack("<I", value)
def u64(value): return struct.pack("<Q", value)
def f64(value): return struct.pack("<d", value)
def ids(sites): return u32(len(sites)) + b"".join(map(u32, sites))
def digests(items): return u32(len(items)) + b"".join(items)


def hkdf(key_material, salt, info):
    extracted = hmac.new(salt, key_material, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


class Random:
    """The tests' source of secrets: block i is SHA-256(seed || i)."""

    def __init__(self, seed):
        self.seed, self.block = seed, 0

    def draw(self):
        self.block += 1
        return sha(u64(self.seed) + u64(self.block - 1))

    def below(self, bound):
        return struct.unpack("<Q", self.draw()[:8])[0] * bound >> 64


def identity_of(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def public_of(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def multiply(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a <<= 1
        a ^= 0x11B if a & 0x100 else 0
        b >>= 1
    return product


def split(secret, random):
    """Shares at x = 1, 2, ..., byte by byte over GF(2^8)."""
    coefficients = [secret] + [random.draw() for _ in range(THRESHOLD - 1)]
    shares = []
    for x in range(1, len(SITES) + 1):
        share = bytearray(32)
        for i in range(32):
            power = 1
            for coefficient in coefficients:
                share[i] ^= multiply(coefficient[i], power)
                power = multiply(power, x)
        shares.append(bytes(share))
    return shares


def merkle(chunks):
    """RFC 6962, over the chunks' digests."""
    def root(nodes):
        if len(nodes) == 1:
            return nodes[0]
        left = 1
        while left * 2 < len(nodes):
            left *= 2
        return sha(b"\x01" + root(nodes[:left]) + root(nodes[left:]))
    return root([sha(b"\x00" + sha(chunk)) for chunk in chunks])


def lane_bytes(sum_bits): return next(size for size in (1, 2, 4, 8) if sum_bits <= 8 * size)


def answers_of(cipher, aead):
    """Of one slot under a mask cipher (1 AES-256-CTR, 2 ChaCha20) and an AEAD (1 AES-256-GCM, 2 ChaCha20-Poly1305)."""
    answers = {}
    share_label = b"share" if aead == 1 else b"share/chacha20-poly1305"
    sealer = AESGCM if aead == 1 else ChaCha20Poly1305

    def stream_of(key, size):
        if cipher == 1:
            return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))
        return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(size))

    # The sites, their vectors and the roster.
    setup = Random(SEED)
    operator_seed = setup.draw()
    seeds, values = {}, {}
    for site in SITES:
        seeds[site], values[site] = setup.draw(), []
        for length, value_bits, _, _ in SEGMENTS:
            bound = (1 << (value_bits - 1)) - 1
            drawn = [setup.below(2 * bound + 1) - bound for _ in range(length)]
            values[site].append([bound, -bound] + drawn[2:])
    roster_body = identity_of(operator_seed) + u32(len(SITES))
    for site in SITES:
        name = f"site-{site}".encode()
        roster_body += u32(site) + u64(len(name)) + name + identity_of(seeds[site])
    roster = sha(roster_body)
    answers.update(roster=roster, seed3=seeds[3])

    def sign(site, label, body):
        message = b"atoll/secagg/v1/" + label + b"\x00" + roster + RUN + u64(SLOT) + u32(GROUP) + sha(body)
        return Ed25519PrivateKey.from_private_bytes(seeds[site]).sign(message)

    # E1.
    random = {site: Random(SEED * 1000 + site) for site in SITES}
    enc, mask, b, commits, records = {}, {}, {}, {}, {}
    for site in SITES:
        enc[site], mask[site], b[site] = (random[site].draw() for _ in range(3))
        commits[site] = sha(b"b" + RUN + u64(SLOT) + u32(site) + b[site])
        body = u32(site) + public_of(enc[site]) + public_of(mask[site]) + commits[site]
        records[site] = body + sign(site, b"pre-keys", body)
    pre_keys = sha(u8(2) + u32(len(SITES)) + b"".join(records[site] for site in SITES))
    answers.update(record3=sha(u8(1) + records[3]), b_commit8=commits[8], u0=pre_keys)

    # E2.
    mask_shares, b_shares, hashes, signatures, envelopes = {}, {}, {}, {}, {}
    for dealer in SITES:
        mask_shares[dealer] = split(mask[dealer], random[dealer])
        b_shares[dealer] = split(b[dealer], random[dealer])
        share_hash = lambda kind, rank, share: sha(
            b"share" + u8(kind) + u32(dealer) + u32(SITES[rank]) + RUN + u64(SLOT) + share)
        hashes[dealer] = [[share_hash(2, rank, share) for rank, share in enumerate(mask_shares[dealer])],
                          [share_hash(1, rank, share) for rank, share in enumerate(b_shares[dealer])]]
        signatures[dealer] = sign(dealer, b"shares", u32(dealer) + u32(THRESHOLD) + pre_keys + u32(len(SITES)) +
                                  b"".join(hashes[dealer][0]) + b"".join(hashes[dealer][1]))
        envelopes[dealer] = []
        for rank, holder in enumerate(SITES):
            if holder == dealer:
                envelopes[dealer].append(b"")
                continue
            key = hkdf(agree(enc[dealer], public_of(enc[holder])), pre_keys, share_label + u32(dealer) + u32(holder))
            binding = RUN + u64(SLOT) + u32(dealer) + u32(holder) + u32(THRESHOLD) + pre_keys
            plaintext = mask_shares[dealer][rank] + b_shares[dealer][rank]
            envelopes[dealer].append(sealer(key).encrypt(bytes(12), plaintext, binding))
    head = lambda dealer: u32(dealer) + digests(hashes[dealer][0]) + digests(hashes[dealer][1]) + signatures[dealer]
    sized = lambda data: u64(len(data)) + data
    answers["bundle3"] = sha(u8(3) + head(3) + u32(len(SITES)) + b"".join(map(sized, envelopes[3])))
    answers["delivery8"] = sha(u8(4) + u32(3) + b"".join(head(d) + sized(envelopes[d][1]) for d in (3, 13, 18)))

    # R0 to U2.
    manifest = u8(6) + RUN + u64(SLOT) + u32(ROUND) + u32(GROUP) + u8(1) + pre_keys + ids(SITES)
    manifest += sha(b"model") + sha(b"recipe") + u32(len(SEGMENTS))
    for length, value_bits, sum_bits, scale in SEGMENTS:
        manifest += u64(length) + u32(value_bits) + u32(sum_bits) + f64(scale)
    manifest = sha(manifest + f64(20.0) + u8(1) + u64(1000) + f64(0) + u8(cipher) + u8(aead) + u32(THRESHOLD))
    context = sha(b"ctx" + manifest + ids(SITES))
    ready = b"".join(u32(site) + sign(site, b"ready", manifest) for site in SITES)
    answers.update(manifest=manifest, u2=sha(u8(8) + u32(len(SITES)) + ready), ctx=context)

    # Masks.
    def lane_bits(segment): return u32(8 * lane_bytes(SEGMENTS[segment][2]))

    def self_key(site, segment):
        return hkdf(b[site], context, b"self" + u32(site) + u32(segment) + lane_bits(segment))

    def pair_key(one, other, segment):
        low, high = sorted((one, other))
        info = b"pair" + u32(low) + u32(high) + public_of(mask[low]) + public_of(mask[high]) + u32(segment)
        return hkdf(agree(mask[one], public_of(mask[other])), context, info + lane_bits(segment))

    answers.update(self8_0=self_key(8, 0), pair3_8_0=pair_key(8, 3, 0), pair8_13_1=pair_key(8, 13, 1),
                   pair8_18_2=pair_key(18, 8, 2))

    # R2: the segments here have one chunk each.
    def masked(site):
        chunks = []
        for segment, (length, _, sum_bits, _) in enumerate(SEGMENTS):
            size = lane_bytes(sum_bits)
            lanes = list(values[site][segment])
            streams = [(self_key(site, segment), 1)]
            streams += [(pair_key(site, peer, segment), 1 if peer > site else -1) for peer in SITES if peer != site]
            for key, sign_of in streams:
                stream = stream_of(key, length * size)
                for e in range(length):
                    lanes[e] += sign_of * int.from_bytes(stream[e * size:(e + 1) * size], "little")
            packed = sum((lane % (1 << sum_bits)) << (e * sum_bits) for e, lane in enumerate(lanes))
            chunks.append(packed.to_bytes((length * sum_bits + 7) // 8, "little"))
        return chunks

    def commit(site):
        chunks = masked(site)
        body = u64(sum(map(len, chunks))) + merkle(chunks)
        return u32(site) + body + sign(site, b"commit", context + body)

    answers["upload8"] = sha(b"".join(masked(8)))
    answers["u3"] = sha(u8(10) + u32(len(SURVIVORS)) + b"".join(map(commit, SURVIVORS)))

    # R3, R4.
    request = b"".join(u32(site) + sign(site, b"survivors", context + ids(SURVIVORS)) for site in SURVIVORS)
    answers["request"] = sha(u8(12) + u32(len(SURVIVORS)) + request)
    rank = SITES.index(13)
    items = u32(len(SITES))
    for owner in SITES:
        items += u32(owner) + (u8(1) + b_shares[owner][rank] if owner in SURVIVORS
                               else u8(2) + mask_shares[owner][rank])
    answers["answer13"] = sha(u8(13) + u32(13) + items + sign(13, b"unmask", context + items))

    return answers


def main():
    for suite, (cipher, aead) in {"aes": (1, 1), "chacha20": (2, 2)}.items():
        for name, value in answers_of(cipher, aead).items():
            print(suite, name, value.hex())


if __name__ == "__main__":
    main()
