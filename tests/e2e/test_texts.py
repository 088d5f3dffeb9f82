"""Federated runs on texts: sites that hold what the data say, language models, adapters on weights from elsewhere."""
import json
import os
import random
import unittest

import safetensors.numpy

import harness
from harness import EndToEnd

BERT = os.path.join(harness.SOURCE, "tests", "trainer", "references", "models", "bert")
ALPHABETS = {"one": "abcde", "two": "fghij", "three": "klmno", "four": "pqrst"}
# Each site has two of the four, so that no site has all.
SITES = {"x": ["one", "two"], "y": ["two", "three"], "z": ["three", "four"]}

RECIPE = """
name: texts
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: %s
  data: {dataset: jsonl, folder: %s, site_field: site, partition: {kind: by_site}%s}
  site: {count: 3, ranks: 2}
  train: {optimizer: {kind: adam, lr: 0.05}, batch_size: 8}
  federation: {weighting: uniform}
  privacy: {secure_aggregation: {clip_norm_l2: 50}}
"""


class TextsTest(EndToEnd):
    def setUp(self):
        super().setUp()
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.data)
        draw = random.Random(7)
        for split, count in (("train", 40), ("test", 20)):
            with open(os.path.join(self.data, split + ".jsonl"), "w") as f:
                for site, languages in SITES.items():
                    for language in languages:
                        for _ in range(count):
                            text = " ".join("".join(draw.choices(ALPHABETS[language], k=3)) for _ in range(4))
                            f.write(json.dumps({"text": text, "label": language, "site": site}) + "\n")
        with open(os.path.join(self.data, "classes.txt"), "w") as f:
            f.write("\n".join(sorted(ALPHABETS)) + "\n")

    def run_recipe(self, model, tokenizer="", rounds=3):
        recipe = self.recipe(RECIPE % (model, self.data, tokenizer))
        code, out, err = self.finish(self.start_run(recipe, "--json", "--set", "federation.rounds=%d" % rounds), 120)
        self.assertEqual(code, 0, err)
        return json.loads(out), self.run_folder()

    def test_sites_with_different_languages_make_one_model_that_tells_all(self):
        summary, folder = self.run_recipe("{kind: text-classifier, classes: 4, buckets: 512, ngram_max: 2, width: 8}",
                                          rounds=12)
        self.assertGreater(summary["final"]["accuracy"], 0.9)
        with open(os.path.join(folder, "config.json")) as f:
            self.assertEqual(json.load(f)["class_names"], sorted(ALPHABETS))

    def test_a_language_model_ends_as_a_hugging_face_folder(self):
        summary, folder = self.run_recipe(
            "{kind: decoder, layers: 1, heads: 2, kv_heads: 1, hidden_size: 16, intermediate_size: 24, max_length: 24}",
            ", tokenizer: {kind: bytes}")
        self.assertLess(summary["rounds"][-1]["loss"], summary["rounds"][0]["loss"])
        with open(os.path.join(folder, "config.json")) as f:
            self.assertEqual(json.load(f)["model_type"], "llama")
        self.assertIn("model.layers.0.self_attn.k_proj.weight",
                      safetensors.numpy.load_file(os.path.join(folder, "model.safetensors")))

    def test_adapters_alone_travel_and_the_whole_model_comes_out(self):
        vocabulary = os.path.join(self.data, "vocab.txt")
        letters = "".join(ALPHABETS.values())
        with open(vocabulary, "w") as f:
            f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[u0]", "[u1]", "[u2]", *letters, *("##" + c for c in letters)]))
        summary, folder = self.run_recipe(
            "{kind: encoder, task: masked_lm, weights: %s, max_length: 12, masked_share: 0.3, "
            "lora: {rank: 2, layers: ['*.query']}}" % BERT,
            ", tokenizer: {kind: wordpiece, file: %s}" % vocabulary)
        before = safetensors.numpy.load_file(os.path.join(BERT, "model.safetensors"))
        after = safetensors.numpy.load_file(os.path.join(folder, "model.safetensors"))
        self.assertEqual(set(after) - set(before), set())
        changed = {name for name, values in after.items() if (values != before[name]).any()}
        # The head is trained whole, as a head is that the weights may lack.
        self.assertEqual({name for name in changed if not name.startswith("cls.")},
                         {"bert.encoder.layer.%d.attention.self.query.weight" % i for i in (0, 1)})
        # Two layers of two 16 x 2 matrices and the head, in 18-bit lanes: not the model's 6,000 values.
        self.assertLess(summary["rounds"][-1]["bytes_up"], 3 * 3000)


if __name__ == "__main__":
    unittest.main()
