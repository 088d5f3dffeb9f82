"""A federation whose parts are started one by one, as on several machines: keys and roster, coordinator, sites,
evaluator, and a person who submits, looks, waits and cancels."""
import json
import os
import signal
import unittest

from harness import EndToEnd, descendants, free_port, kill, wait_for

RECIPE = """
name: deployed
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp, hidden: [32]}
  data: {dataset: fashion-mnist, limit: 3000, test_limit: 500}
  site: {count: 3, ranks: 1}
  train: {optimizer: {kind: sgd, lr: 0.05}, batch_size: 32, local_epochs: 5}
  federation: {rounds: 2, cohort: {min: 3}, weight_max: 1000}
"""
OVER = ("complete", "failed", "cancelled")


class DeployTest(EndToEnd):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.parts = {}
        self.keys = {}
        for name in ("operator", "1", "2", "3"):
            code, out, err = self.atoll("keys", "new", name + ".key")
            self.assertEqual(code, 0, err)
            self.keys[name] = out.strip()
        self.make_roster("roster.json", {i: self.keys[str(i)] for i in (1, 2, 3)})

    def tearDown(self):
        # As their operators end them: every part stops by itself, with exit code 0.
        codes = {}
        for process in self.parts.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for name, process in self.parts.items():
            codes[name] = self.finish(process, 20)[0]
        super().tearDown()
        self.assertEqual(codes, {name: 0 for name in self.parts})

    def make_roster(self, name, sites):
        arguments = [a for i, key in sites.items() for a in ("--site", f"{i}:hospital-{i}:{key}")]
        code, _, err = self.atoll("keys", "roster", "--operator", "operator.key", *arguments, "--out", name)
        self.assertEqual(code, 0, err)

    def coordinator_arguments(self, **flags):
        flags = {"listen": self.address, "data": "coordinator", "roster": "roster.json", "log-file": "coordinator.log",
                 "ready-file": "ready.json", **flags}
        return ["coordinator"] + [a for k, v in flags.items() for a in ("--" + k, str(v))]

    def site_arguments(self, number, **flags):
        flags = {"coordinator": self.address, "id": number, "identity": f"{number}.key", "roster": "roster.json",
                 "operator-key": self.keys["operator"], "data": f"s{number}", "log-file": f"site-{number}.log",
                 "cpus": 1, "memory-gb": 1, **flags}
        return ["site"] + [a for k, v in flags.items() for a in ("--" + k, str(v))]

    def start_coordinator(self):
        self.parts["coordinator"] = self.start(*self.coordinator_arguments())

        def ready():
            if self.parts["coordinator"].poll() is not None:
                self.fail("the coordinator ended: " + self.parts["coordinator"].err.text)
            try:
                with open(os.path.join(self.folder, "ready.json")) as f:
                    found = json.load(f)
            except (FileNotFoundError, ValueError):
                return None
            return found if found["pid"] == self.parts["coordinator"].pid else None
        self.assertEqual(wait_for("ready file", ready, 20)["address"], self.address)

    def start_site(self, number):
        self.parts[f"site {number}"] = self.start(*self.site_arguments(number))

    def start_federation(self):
        self.start_coordinator()
        for number in (1, 2, 3):
            self.start_site(number)
        self.parts["evaluator"] = self.start("site", "--role", "evaluator", "--coordinator", self.address,
                                             "--data", "ev", "--roster", "roster.json", "--log-file", "evaluator.log")
        wait_for("connected sites", lambda: sum(s["connected"] for s in self.status()["sites"]) == 4, 30)

    def ask(self, command, *args, code=0):
        got, out, err = self.atoll(command, *args, "--coordinator", self.address)
        self.assertEqual(got, code, out + err)
        return out if code == 0 else err

    def status(self, *args):
        return json.loads(self.ask("status", "--json", *args))

    def submit(self, *overrides):
        recipe = self.recipe(RECIPE)
        sets = [a for o in overrides for a in ("--set", o)]
        return int(self.ask("submit", recipe, *sets))

    def job(self, number):
        return next(job for job in self.status()["jobs"] if job["id"] == number)

    def wait_for_status(self, number, status, timeout_s=90):
        def look():
            job = self.job(number)
            if job["status"] != status and job["status"] in OVER:
                self.fail(f"job {number} is {job['status']}: {job['reason']}")
            return job if job["status"] == status else None
        return wait_for(f"job {number} {status}", look, timeout_s, 0.2)

    def wait_for_rounds(self, number, rounds, timeout_s=60):
        def look():
            job = self.job(number)
            if job["status"] in OVER:
                self.fail(f"job {number} is {job['status']} already: {job['reason']}")
            return job["rounds_completed"] >= rounds
        wait_for(f"{rounds} rounds of job {number}", look, timeout_s, 0.05)

    def test_two_jobs_one_after_the_other(self):
        self.start_federation()
        first = self.submit("federation.rounds=3")
        second = self.submit("name=second")
        self.assertEqual((first, second), (1, 2))
        # The sites offer one core each, and the first job has them.
        self.assertEqual(self.job(first)["status"], "running")
        queued = self.job(second)
        self.assertEqual(queued["status"], "queued")
        self.assertNotEqual(queued["reason"], "")
        follower = self.start("logs", "-f", str(first), "--coordinator", self.address)
        self.wait_for_status(first, "complete")
        code, followed, err = self.finish(follower, 20)  # ends with its job
        self.assertEqual(code, 0, err)
        past = self.ask("logs", str(first))
        for text in (followed, past):
            for part in (r"round 1/3 ", r"round 3/3 ", r"test 0\.\d{4}", r"complete"):
                self.assertRegex(text, part)
        self.assertTrue(set(past.splitlines()) <= set(followed.splitlines()), past + followed)
        self.wait_for_status(second, "complete")

        summary = self.status(str(first))
        self.assertEqual([r["round"] for r in summary["rounds"]], [1, 2, 3])
        self.assertEqual(summary["final"]["from"], "public test set")
        self.assertEqual(summary["final"]["examples"], 500)
        self.assertGreater(summary["final"]["accuracy"], 0.2)
        self.assertTrue(summary["secure_aggregation"]["enabled"])
        table = self.ask("status")
        self.assertRegex(table, r"(?m)^1 +complete +3/3 +deployed")
        self.assertRegex(table, r"(?m)^2 +complete +2/2 +second")
        for number in (1, 2, 3):
            self.assertRegex(table, rf"(?m)^{number} +hospital-{number} +site +yes +1\.0 +1\.0 +-")
        self.assertRegex(table, r"(?m)^\d+ +\S+ +evaluator +yes")
        self.assertRegex(self.ask("status", str(first)), r"round 3/3  3 sites")
        self.assertIn("99", self.ask("status", "99", code=1))

    def test_cancel(self):
        self.start_federation()
        running = self.submit("federation.rounds=1000")
        queued = self.submit()
        self.assertIn("name one", self.ask("cancel", code=2))
        self.assertIn("cancelled", self.ask("cancel", str(queued)))
        self.wait_for_status(queued, "cancelled", 10)
        self.wait_for_rounds(running, 1)
        self.assertIn("cancelled", self.ask("cancel"))  # the only one that is not over
        self.wait_for_status(running, "cancelled", 10)
        trainers = lambda: [c for n in (1, 2, 3) for c in descendants(self.parts[f"site {n}"].pid).values()]
        wait_for("end of the trainers", lambda: not trainers(), 20)
        self.assertIn("no job", self.ask("cancel", code=1))
        # The sites are free for the next one.
        self.wait_for_status(self.submit("federation.rounds=1"), "complete")

    def test_the_coordinator_is_killed_in_a_job_and_comes_back(self):
        self.start_federation()
        job = self.submit("federation.rounds=5")
        self.wait_for_rounds(job, 1)
        kill(self.parts["coordinator"].pid, signal.SIGKILL)
        self.finish(self.parts["coordinator"], 10)
        self.assertIn(self.address, self.ask("status", code=1))
        self.start_coordinator()
        self.wait_for_status(job, "complete", 120)
        summary = self.status(str(job))
        self.assertEqual([r["round"] for r in summary["rounds"]], [1, 2, 3, 4, 5])
        self.assertEqual([r["participants"] for r in summary["rounds"]], 5 * [[1, 2, 3]])
        # Each of them did what it did once.
        self.assertEqual([r["examples"] for r in summary["rounds"]], 5 * [summary["rounds"][0]["examples"]])
        self.wait_for_status(self.submit("federation.rounds=1"), "complete")

    def test_a_site_is_killed_in_a_job_and_comes_back(self):
        self.start_federation()
        job = self.submit("federation.rounds=4")
        self.wait_for_rounds(job, 1)
        kill(self.parts["site 2"].pid, signal.SIGKILL)
        self.finish(self.parts["site 2"], 10)
        wait_for("its going", lambda: not self.site(2)["connected"], 20)
        self.start_site(2)
        wait_for("its return", lambda: self.site(2)["connected"], 20)
        self.wait_for_status(job, "complete", 120)
        self.assertEqual(self.status(str(job))["rounds"][-1]["participants"], [1, 2, 3])

    def site(self, number):
        return next(s for s in self.status()["sites"] if s["id"] == number)

    def refused(self, arguments, words, timeout_s=30):
        """The program ends by itself with exit code 1 or 2 and says why, in one line."""
        process = self.start(*arguments)
        code, out, err = self.finish(process, timeout_s)
        self.assertIn(code, (1, 2), out + err)
        log = next((a for i, a in enumerate(arguments) if arguments[i - 1] == "--log-file"), None)
        said = err
        if log and os.path.exists(os.path.join(self.folder, log)):
            with open(os.path.join(self.folder, log)) as f:
                said += f.read()
        self.assertRegex(said, words)
        self.assertNotIn("terminate called", said)

    def test_a_coordinator_listens_on_this_machine_only(self):
        for address in (f"0.0.0.0:{self.port}", f"[::]:{self.port}", f":{self.port}"):
            with self.subTest(address=address):
                self.refused(self.coordinator_arguments(listen=address), r"TLS|loopback|address")

    def test_a_data_folder_has_one_owner(self):
        self.start_federation()
        self.refused(self.coordinator_arguments(listen="127.0.0.1:0", **{"log-file": "second.log"}), "coordinator")
        self.refused(self.site_arguments(1, **{"log-file": "second.log"}), "s1")
        self.assertTrue(self.site(1)["connected"])

    def test_strangers_are_refused(self):
        self.start_coordinator()
        code, stranger, err = self.atoll("keys", "new", "9.key")
        self.assertEqual(code, 0, err)
        stranger = stranger.strip()
        with self.subTest("an id that the roster does not have"):
            self.refused(self.site_arguments(9), r"roster")
        with self.subTest("another identity than the roster's"):
            self.refused(self.site_arguments(1, identity="2.key", data="wrong"), r"identity|roster")
        with self.subTest("a roster of its own"):
            self.make_roster("own.json", {1: self.keys["1"], 2: self.keys["2"], 9: stranger})
            self.refused(self.site_arguments(9, roster="own.json"), r"roster")
        with self.subTest("a roster that another operator signed"):
            self.refused(self.site_arguments(3, **{"operator-key": stranger}), r"operator|signed|signature")
        with self.subTest("a roster that was changed"):
            with open(os.path.join(self.folder, "roster.json")) as f:
                text = f.read()
            with open(os.path.join(self.folder, "changed.json"), "w") as f:
                f.write(text.replace(self.keys["3"], stranger))
            self.refused(self.site_arguments(3, identity="9.key", roster="changed.json"), r"signature|signed|verify")
        self.assertEqual([s for s in self.status()["sites"] if s["connected"]], [])


if __name__ == "__main__":
    unittest.main()
