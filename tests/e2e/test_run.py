"""Whole runs on real data: what they print, what they leave, and whether the model is what the summary says."""
import json
import os
import unittest

import harness
import model_in_numpy
from harness import CATALOG, EndToEnd

# Small, but a convolution, non-IID sites and two ranks each.
SMALL_CNN = """
name: small-cnn
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: cnn, channels: [6, 16]}
  data: {dataset: fashion-mnist, limit: 4000, partition: {kind: dirichlet, alpha: 0.5}}
  site: {count: 3, ranks: 2}
  train: {optimizer: {kind: sgd, lr: 0.05, momentum: 0.9}, batch_size: 32, local_epochs: 3}
  federation: {rounds: 2, weight_max: 2000}
"""


class RunTest(EndToEnd):
    def test_json_is_one_document_and_nothing_else(self):
        code, out, err = self.finish(self.start_run(os.path.join(CATALOG, "quick.yaml"), "--json"), 60)
        self.assertEqual(code, 0, err)
        summary = json.loads(out)
        self.assertEqual(summary["status"], "complete")
        self.assertEqual(summary["rounds_completed"], len(summary["rounds"]))
        # Each of three sites has looked at every chunk of a vector this small: metrics and update.
        self.assertEqual([r["spot_checked"] for r in summary["rounds"]], [6] * len(summary["rounds"]))
        self.assertTrue(summary["secure_aggregation"]["enabled"])
        folder = self.run_folder()
        self.assertEqual(summary, self.summary(folder))
        self.assertEqual(
            sorted(os.listdir(folder)),
            ["config.json", "logs", "metrics.jsonl", "model.safetensors", "recipe.yaml", "summary.json"])
        with open(os.path.join(folder, "metrics.jsonl")) as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual([line["step"] for line in lines], [r["round"] for r in summary["rounds"]])

    def test_plain_output_has_a_line_a_round_and_a_table(self):
        code, out, err = self.finish(self.start_run(os.path.join(CATALOG, "quick.yaml")), 60)
        self.assertEqual(code, 0, err)
        self.assertIn("round 1/2  3 sites", out)
        self.assertIn("round 2/2  3 sites", out)
        self.assertRegex(out, r"status +complete")
        self.assertNotIn("\x1b", out)

    def test_a_trace_has_every_step_between_every_site_and_the_coordinator(self):
        code, out, err = self.finish(self.start_run(os.path.join(CATALOG, "quick.yaml"), "--json", "--trace"), 60)
        self.assertEqual(code, 0, err)
        json.loads(out)
        for site in ("site-1", "site-2", "site-3"):
            for step in ("E1 pre-keys", "E2 shares", "E2 receipt", "R1 ready", "R2 commit", "R2 vector", "R3 signature",
                         "R4 answer", "R5 checked"):
                self.assertRegex(err, r"slot 1 +%s -> coordinator +%s " % (site, step))
            for step in ("E1 open a slot", "U0 pre-key set", "E2 delivery", "R0 manifest", "U2 cohort", "R3 survivors",
                         "R4 question", "R5 result"):
                self.assertRegex(err, r"slot 1 +coordinator -> %s +%s " % (site, step))
        self.assertRegex(err, r"round 1 slot 1 .* R3 survivors .* U3 = \{1,2,3\} ")
        self.assertNotIn("unreadable", err)

    def test_the_model_in_numpy_is_as_good_as_the_summary_says(self):
        recipe = self.recipe(SMALL_CNN)
        code, _, err = self.finish(self.start_run(recipe, "--quiet"), 180)
        self.assertEqual(code, 0, err)
        folder = self.run_folder()
        final = self.summary(folder)["final"]
        correct, examples = model_in_numpy.evaluate(folder)
        self.assertEqual(final["examples"], examples)
        self.assertLessEqual(abs(correct - final["accuracy"] * examples), 1.0)
        self.assertGreater(final["accuracy"], 0.4)

    def test_secure_aggregation_on_and_off_give_the_same_model(self):
        recipe = self.recipe(SMALL_CNN)
        models, summaries = [], []
        for enabled in ("true", "false"):
            self.runs = os.path.join(self.folder, "runs-" + enabled)
            run = self.start_run(recipe, "--quiet", "--set", "privacy.secure_aggregation.enabled=" + enabled)
            code, _, err = self.finish(run, 180)
            self.assertEqual(code, 0, err)
            folder = self.run_folder()
            with open(os.path.join(folder, "model.safetensors"), "rb") as f:
                models.append(f.read())
            summaries.append(self.summary(folder))
        self.assertEqual([s["secure_aggregation"]["enabled"] for s in summaries], [True, False])
        self.assertEqual([r["loss"] for r in summaries[0]["rounds"]], [r["loss"] for r in summaries[1]["rounds"]])
        self.assertTrue(models[0] == models[1], "the two models differ")

    def test_groups_give_the_same_model_as_a_plain_run(self):
        settings = ("site.count=6", "federation.cohort.min=6", "privacy.secure_aggregation.group_size_max=3",
                    "privacy.secure_aggregation.corrupt_sites_max=1")
        models, errors = [], []
        for enabled in ("true", "false"):
            self.runs = os.path.join(self.folder, "runs-" + enabled)
            args = [arg for setting in settings for arg in ("--set", setting)]
            run = self.start_run(os.path.join(CATALOG, "quick.yaml"), "--json", "--trace", *args, "--set",
                                 "privacy.secure_aggregation.enabled=" + enabled)
            code, _, err = self.finish(run, 180)
            self.assertEqual(code, 0, err)
            errors.append(err)
            with open(os.path.join(self.run_folder(), "model.safetensors"), "rb") as f:
                models.append(f.read())
        for site in range(1, 7):
            for step in ("commit", "signature", "reveal"):
                self.assertRegex(errors[0], r"site-%d +-> coordinator +G\d %s" % (site, step))
        # Two groups of three: no survivors of a round stand in one set.
        self.assertRegex(errors[0], r"round 1 slot 1 .* R3 survivors .* U3 = \{\d,\d,\d\} ")
        self.assertNotIn(" G1 ", errors[1])
        self.assertTrue(models[0] == models[1], "the two models differ")


class OtherTerminalTest(EndToEnd):
    """A run that is looked at, added to and ended from another terminal."""

    def test_status_logs_submit_and_cancel(self):
        # A long name: its sites' sockets have to lie elsewhere, and must be gone at the end, too.
        recipe = self.recipe(SMALL_CNN.replace("small-cnn", "a-run-with-" + "quite-" * 10 + "a-long-name"))
        run = self.start_run(recipe, "--set", "federation.rounds=1000", "--set", "model.kind=mlp", "--set",
                             "data.evaluate=false", "--set", "site.ranks=1")
        self.wait_for_output(run, r"round +1/1000 ", 60)
        # Where the tests' commands run, the newest live run under runs/ is meant.
        code, out, err = self.atoll("status")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"(?m)^1 +running +\d+/1000 +a-run-with")
        self.assertRegex(out, r"(?m)^2 +site-2 +site +yes .* 1$")
        code, out, err = self.atoll("logs", "--run", self.run_folder())
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"round +1/1000 ")
        code, out, err = self.atoll("submit", recipe)
        self.assertEqual((code, out), (0, "2\n"), err)
        follower = self.start("logs", "-f", "1")
        self.wait_for_output(follower, r"round +1/1000 ", 30)
        code, out, err = self.atoll("cancel", "1", "--run", self.runs)
        self.assertEqual(code, 0, err)
        code, out, err = self.finish(run, 30)
        self.assertEqual(code, 1, out + err)
        self.assertRegex(out, r"status +cancelled: ")
        self.assertEqual(self.summary(self.run_folder())["status"], "cancelled")
        self.assertEqual(self.finish(follower, 20)[0], 0)
        code, out, err = self.atoll("status", "--run", self.runs)
        self.assertEqual(code, 1, out + err)

    def test_a_terminal_shows_a_live_line_a_site(self):
        run = self.start_run(os.path.join(CATALOG, "quick.yaml"), terminal=True)
        code, out, err = self.finish(run, 60)
        self.assertEqual(code, 0, out + err)
        for site in ("site-1", "site-2", "site-3"):
            self.assertRegex(out, site + r"  round \d  train")
        self.assertIn("\x1b[", out)
        self.assertRegex(out, r"round 2/2  3 sites  loss \d\.\d{4}  accuracy 0\.\d{4}  test 0\.\d{4}  up ")
        self.assertRegex(out, r"status +complete")


if __name__ == "__main__":
    unittest.main()
