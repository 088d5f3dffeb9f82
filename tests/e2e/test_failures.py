"""What a run does when processes are killed, stopped or interrupted: it goes on without them, or says why it cannot,
and leaves nothing behind."""
import json
import os
import re
import signal
import time
import unittest

from harness import SLOW, EndToEnd, descendants, kill, processes_of, wait_for
from vectors import Layout, mlp_parameters, staged

# Four sites of which one may be missing, with rounds of a second or so, so that there is a middle to kill in.
FOUR = """
name: four
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp, hidden: [64]}
  data: {dataset: fashion-mnist, limit: 4000, evaluate: false, partition: {kind: iid}}
  site: {count: 4, ranks: 1}
  train: {optimizer: {kind: sgd, lr: 0.05}, batch_size: 32, local_epochs: 10}
  federation: {rounds: 4, cohort: {min: 3}, weight_max: 1000}
"""

# Seven sites of which two may be missing, with vectors large enough to be caught on their way.
SEVEN = """
name: seven
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp, hidden: [2048, 1024]}
  data: {dataset: fashion-mnist, limit: 1792, evaluate: false, partition: {kind: iid}}
  site: {count: 7, ranks: 1}
  train: {optimizer: {kind: sgd, lr: 0.02}, batch_size: 32, local_epochs: 2}
  federation: {rounds: 4, cohort: {min: 3}, weight_max: 256}
"""


SEVEN_VECTOR = Layout(mlp_parameters([2048, 1024]), value_bits=16, sites=7)


class FailureTest(EndToEnd):
    def start_four(self, *args, **kwargs):
        run = self.start_run(self.recipe(FOUR), *args, **kwargs)
        folder = self.run_folder()
        pids = self.site_pids(folder, 4)
        self.wait_for_output(run, r"round 1/\d ", 60)
        return run, folder, pids

    def assert_complete(self, folder, rounds):
        summary = self.summary(folder)
        self.assertEqual(summary["status"], "complete", summary["reason"])
        self.assertEqual(summary["rounds_completed"], rounds)
        self.assertTrue(os.path.exists(os.path.join(folder, "model.safetensors")))
        return summary

    def assert_nothing_half_written(self, folder):
        names = [name for _, _, files in os.walk(folder) for name in files]
        self.assertEqual([name for name in names if ".tmp" in name], [])

    def test_one_of_four_sites_is_killed_in_a_round(self):
        run, folder, pids = self.start_four()
        below = descendants(pids[2])
        self.assertTrue(below, "the site has no trainer")
        kill(pids[2], signal.SIGKILL)
        # Its trainer goes with it while the run goes on.
        wait_for("end of its trainer", lambda: not set(below) & set(processes_of(self.id)), 10)
        code, out, err = self.finish(run, 120)
        self.assertEqual(code, 0, out + err)
        summary = self.assert_complete(folder, 4)
        self.assertEqual([s["name"] for s in summary["sites"] if s["dropped"]], ["site-2"])
        self.assertEqual(summary["rounds"][-1]["participants"], [1, 3, 4])
        self.assertRegex(out, r"site-2 ended \(exit code 137\)")
        self.assertRegex(out, r"site-2 dropped: ")
        self.assertRegex(out, r"sites +4, dropped: site-2")

    def test_two_of_four_sites_are_killed(self):
        run, folder, pids = self.start_four()
        kill(pids[2], signal.SIGKILL)
        kill(pids[3], signal.SIGKILL)
        second = time.monotonic()
        code, out, err = self.finish(run, 60)
        self.assertEqual(code, 1, out + err)
        self.assertLess(time.monotonic() - second, 30 * SLOW)
        summary = self.summary(folder)
        self.assertEqual(summary["status"], "failed")
        self.assertGreaterEqual(summary["rounds_completed"], 1)
        for text in (summary["reason"], out):
            self.assertRegex(text, r"2 of at least 3 sites")
            self.assertIn("site-2", text)
            self.assertIn("site-3", text)
        self.assertFalse(os.path.exists(os.path.join(folder, "model.safetensors")))
        self.assert_nothing_half_written(folder)

    def test_of_seven_sites_one_dies_training_and_one_uploading(self):
        # On a terminal, whose live lines say what each site does.
        run = self.start_run(self.recipe(SEVEN), "--keep-work", terminal=True)
        folder = self.run_folder()
        pids = self.site_pids(folder, 7)
        step = self.wait_for_output(run, r"(site-\d)  round 1  train +\[[#.]+\] step (\d+)/(\d+)", 90)
        training = int(step[1][-1])
        kill(pids[training], signal.SIGKILL)
        self.assertLess(int(step[2]), int(step[3]), "it had trained to the end already")

        uploading = self.stop_an_uploading_site(run, folder, pids, {training})
        kill(pids[uploading], signal.SIGKILL)

        code, out, err = self.finish(run, 240)
        self.assertEqual(code, 0, out + err)
        summary = self.assert_complete(folder, 4)
        self.assertEqual({s["id"] for s in summary["sites"] if s["dropped"]}, {training, uploading})
        rest = sorted(set(range(1, 8)) - {training, uploading})
        self.assertEqual(summary["rounds"][-1]["participants"], rest)
        self.assertIn(training, summary["rounds"][0]["dropped"])

    def stop_an_uploading_site(self, run, folder, pids, dead):
        """SIGSTOPs a site of which the coordinator has some chunks and not all; its id."""
        deadline = time.monotonic() + 120 * SLOW
        while time.monotonic() < deadline and run.poll() is None:
            for path in staged(folder + "/work/coordinator"):
                site = int(path.rsplit("-", 1)[1])
                if site in dead or not 0 < SEVEN_VECTOR.stored(path) < len(SEVEN_VECTOR.sizes):
                    continue
                kill(pids[site], signal.SIGSTOP)
                time.sleep(0.2)  # what was on its way arrives
                if 0 < SEVEN_VECTOR.stored(path) < len(SEVEN_VECTOR.sizes):
                    return site
                kill(pids[site], signal.SIGCONT)
            time.sleep(0.001)
        self.fail("no site was caught uploading\n" + run.out.text[-2000:])

    def test_atoll_run_is_killed(self):
        run, folder, pids = self.start_four()
        started = processes_of(self.id)
        self.assertGreater(len(started), 8, started)  # run, coordinator, sites, trainers
        kill(run.pid, signal.SIGKILL)
        left = self.wait_until_none_left(10 * SLOW)
        self.assertEqual(left, {})

    def test_a_rank_is_killed_and_the_trainer_comes_back(self):
        self.kill_below(r"\batoll-trainer serve\b", "atoll-trainer")

    def test_mpirun_is_killed_and_the_trainer_comes_back(self):
        self.kill_below(r"^mpirun ", "mpirun")

    def kill_below(self, pattern, what):
        run, folder, pids = self.start_four("--set", "site.ranks=2", "--set", "federation.rounds=5",
                                            "--set", "train.local_epochs=5")
        victims = [pid for pid, command in descendants(pids[3]).items()
                   if re.search(pattern, command) and (what == "mpirun" or not command.startswith("mpirun"))]
        self.assertEqual(len(victims), 1 if what == "mpirun" else 2)
        kill(victims[0], signal.SIGKILL)
        code, out, err = self.finish(run, 150)
        self.assertEqual(code, 0, out + err)
        summary = self.assert_complete(folder, 5)
        self.assertEqual(summary["rounds"][-1]["participants"], [1, 2, 3, 4])
        with open(os.path.join(folder, "logs", "site-3.log")) as f:
            self.assertRegex(f.read(), r"starting it again \(1 of \d\)")

    def test_a_site_stands_still_for_a_while(self):
        run, folder, pids = self.start_four()
        kill(pids[4], signal.SIGSTOP)
        time.sleep(3)
        kill(pids[4], signal.SIGCONT)
        code, out, err = self.finish(run, 120)
        self.assertEqual(code, 0, out + err)
        summary = self.assert_complete(folder, 4)
        self.assertEqual(summary["rounds"][-1]["participants"], [1, 2, 3, 4])

    def test_ctrl_c_in_a_round(self):
        run, folder, pids = self.start_four()
        kill(run.pid, signal.SIGINT)
        pressed = time.monotonic()
        code, out, err = self.finish(run, 20)
        self.assertLess(time.monotonic() - pressed, 5 * SLOW)
        self.assertEqual(code, 130, out + err)
        self.assertEqual(processes_of(self.id), {})
        summary = self.summary(folder)
        self.assertEqual(summary["status"], "cancelled")
        self.assertGreaterEqual(summary["rounds_completed"], 1)
        self.assertRegex(out, r"status +cancelled")
        self.assertFalse(os.path.exists(os.path.join(folder, "model.safetensors")))
        self.assertEqual(sorted(set(os.listdir(folder)) - {"metrics.jsonl"}), ["logs", "recipe.yaml", "summary.json"])
        self.assert_nothing_half_written(folder)

    def test_ctrl_c_while_the_coordinator_hangs(self):
        run, folder, pids = self.start_four()
        with open(os.path.join(folder, "processes.json")) as f:
            coordinator = json.load(f)["coordinator"]
        kill(coordinator, signal.SIGSTOP)
        kill(run.pid, signal.SIGINT)
        pressed = time.monotonic()
        code, out, err = self.finish(run, 20)
        self.assertLess(time.monotonic() - pressed, 5 * SLOW)
        self.assertEqual(code, 130, out + err)
        self.assertEqual(processes_of(self.id), {})
        self.assert_nothing_half_written(folder)

    def test_the_coordinator_of_a_run_is_killed(self):
        run, folder, pids = self.start_four()
        with open(os.path.join(folder, "processes.json")) as f:
            kill(json.load(f)["coordinator"], signal.SIGKILL)
        code, out, err = self.finish(run, 30)
        self.assertEqual(code, 1, out + err)
        self.assertRegex(err, r"^atoll run: .*coordinator")
        self.assertEqual(processes_of(self.id), {})
        self.assert_nothing_half_written(folder)

    def test_ctrl_c_during_start_up(self):
        recipe = self.recipe(FOUR)
        for delay_s in (0.05, 0.2, 0.5, 1.0):
            with self.subTest(delay_s=delay_s):
                self.runs = os.path.join(self.folder, f"r{delay_s}")
                run = self.start_run(recipe)
                self.run_folder()
                time.sleep(delay_s)
                kill(run.pid, signal.SIGINT)
                pressed = time.monotonic()
                code, out, err = self.finish(run, 20)
                self.assertLess(time.monotonic() - pressed, 5 * SLOW)
                self.assertEqual(code, 130, out + err)
                self.assertEqual(processes_of(self.id), {})
                folder = self.run_folder()
                self.assertFalse(os.path.exists(os.path.join(folder, "model.safetensors")))
                self.assertFalse(os.path.exists(os.path.join(folder, "work")))
                self.assert_nothing_half_written(folder)


if __name__ == "__main__":
    unittest.main()
