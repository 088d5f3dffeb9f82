"""Tiny Hugging Face checkpoints go through Atoll: they load, train a step, and load back in transformers, which then
gives the outputs that Atoll gives. And the committed references are what models.py makes."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import torch
import transformers

from references import models

BUILD = pathlib.Path(os.environ["ATOLL_BUILD_DIR"])
REFERENCES = pathlib.Path(__file__).resolve().parent / "references" / "models"
TOLERANCE = 1e-4

CLASSES = {"masked_lm": transformers.AutoModelForMaskedLM, "classify": transformers.AutoModelForSequenceClassification,
           "contrastive": transformers.AutoModel, None: transformers.AutoModelForCausalLM}


def read(path):
    return json.loads(path.read_text())


def tensor(case, name):
    value = case["inputs"][name]
    return torch.tensor(value["values"]).view(value["shape"]).long()


class Roundtrip(unittest.TestCase):
    def run_case(self, name):
        case = read(REFERENCES / f"{name}.json")
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "model"
            subprocess.run([BUILD / "tests" / "model-roundtrip", name, folder], check=True)
            model, info = CLASSES[case["model"].get("task")].from_pretrained(folder, output_loading_info=True)
            self.assertEqual((list(info["missing_keys"]), list(info["unexpected_keys"]), list(info["mismatched_keys"])),
                             ([], [], []))
            outputs = read(folder / "outputs.json")
        ids, mask = tensor(case, "inputs"), tensor(case, "mask")
        with torch.no_grad():
            if case["model"].get("task") == "contrastive":
                got, there = models.embed(model, ids, mask), torch.ones(len(ids), 1)
            else:
                got = model(input_ids=ids, attention_mask=mask).logits
                there = mask.unsqueeze(2) if got.dim() == 3 else torch.ones(len(ids), 1)
        want = torch.tensor(outputs["values"]).view(outputs["shape"])
        self.assertLess(float(((got - want) * there).abs().max()), TOLERANCE)
        # The step changed something: the reference is the model before it.
        before = torch.tensor(case["outputs"]).view(case["shape"])
        self.assertGreater(float(((before - want) * there).abs().max()), 10 * TOLERANCE)

    def test_bert_masked_lm(self):
        self.run_case("bert_masked_lm")

    def test_bert_classify(self):
        self.run_case("bert_classify")

    def test_bert_contrastive(self):
        self.run_case("bert_contrastive")

    def test_roberta_masked_lm(self):
        self.run_case("roberta_masked_lm")

    def test_roberta_classify(self):
        self.run_case("roberta_classify")

    def test_llama(self):
        self.run_case("llama")

    def test_models_from_a_recipe(self):
        for name in ("encoder_post_classify", "encoder_pre_contrastive", "decoder"):
            with self.subTest(name):
                self.run_case(name)

    def test_adapters_are_added(self):
        for name in ("bert_classify_lora", "decoder_lora"):
            with self.subTest(name):
                self.run_case(name)


class References(unittest.TestCase):
    def near(self, a, b, where):
        self.assertEqual(type(a), type(b), where)
        if isinstance(a, dict):
            self.assertEqual(list(a), list(b), where)
            for key in a:
                self.near(a[key], b[key], f"{where} {key}")
        elif isinstance(a, list):
            self.assertEqual(len(a), len(b), where)
            for x, y in zip(a, b):
                self.near(x, y, where)
        elif isinstance(a, float):
            self.assertLess(abs(a - b), 1e-5 * max(1.0, abs(a)), where)
        else:
            self.assertEqual(a, b, where)

    def test_are_what_the_script_makes(self):
        with tempfile.TemporaryDirectory() as temporary:
            made = pathlib.Path(temporary)
            models.make(made)
            names = sorted(path.name for path in made.glob("*.json"))
            self.assertEqual(names, sorted(path.name for path in REFERENCES.glob("*.json")))
            for name in names:
                self.near(read(made / name), read(REFERENCES / name), name)
            for weights in sorted(path.name for path in made.iterdir() if path.is_dir()):
                name = f"{weights}/model.safetensors"
                self.assertEqual((made / name).read_bytes(), (REFERENCES / name).read_bytes(), name)


if __name__ == "__main__":
    unittest.main()
