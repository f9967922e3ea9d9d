"""README's and docs/cluster.md's way from nothing to an exported model, on a lab of three hosts, step by step and timed. As root.

    python -m tests.hosts.walkthrough

The commands are those of the pages. `ssh` is this file, which runs what it is given on a host of the lab: the lab has no ssh server.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.lab import Lab
from tests.integration.commands import CONCORD, ROOT

_HOSTS = "CONCORD_WALKTHROUGH_HOSTS"
_PLAIN = """
import sys
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
print(tuple(model(**tokenizer("A man is playing a guitar.", return_tensors="pt")).last_hidden_state.shape))
"""


def ssh(arguments: list[str]) -> None:
    """Become what `ssh -o … HOST COMMAND…` would run there."""
    while arguments[0] == "-o":
        arguments = arguments[2:]
    host, *command = arguments
    first_process, home = json.loads(os.environ[_HOSTS])[host]
    spaces = ["nsenter", "-t", str(first_process), "-m", "-p", "-n", "-u", "-i", f"--wd={home}", "--"]
    os.execvpe("nsenter", [*spaces, "sh", "-c", " ".join(command)], _environment(home))


def _environment(home: str) -> dict[str, str]:
    kept = ("PATH", "LANG", "TORCH_EXTENSIONS_DIR", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": home}


class Walk:
    """One person's terminal: `step` says what is done and how long it took."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._begun = lab, time.monotonic()
        hosts = {host.name: (host.first_process, str(host.folder / "home")) for host in lab.hosts}
        for _, home in hosts.values():
            Path(home).mkdir()
            activate = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH PYTHONPATH={ROOT}\n"
            Path(home, ".bash_profile").write_text(activate)
        own = [sys.executable, "-m", "tests.hosts.walkthrough", "ssh"]
        self.environment = os.environ | {
            _HOSTS: json.dumps(hosts),
            "CONCORD_SSH": shlex.join(own),
            "PYTHONPATH": str(ROOT),
        }

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time it."""
        begun = time.monotonic()
        yield
        now = time.monotonic()
        print(f"{now - begun:7.1f} s  {now - self._begun:7.1f} s  {what}", flush=True)

    def here(self, *command: str) -> str:
        """A command on the person's own machine."""
        return self._ended(subprocess.run(command, env=self.environment, capture_output=True, text=True, cwd=ROOT))

    def on_head(self, command: str) -> str:
        """A command in a shell on the head, with the cluster's settings."""
        settings = "cd ~/.concord/team && export CONCORD_FOLDER=$PWD && set -a && . ./ray.env && set +a"
        quoted = shlex.quote(f"{settings} && {command}")
        return self.here(*shlex.split(self.environment["CONCORD_SSH"]), "host1", f"bash -lc {quoted}")

    @staticmethod
    def _ended(done: "subprocess.CompletedProcess[str]") -> str:
        if done.returncode:
            sys.exit(f"exit code {done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout + done.stderr


def walk(lab: Lab) -> None:
    """All of it."""
    person, files, runs = Walk(lab), lab.folder / "files", lab.shared / "runs"
    concord, script = shlex.join(CONCORD), str(files / "cluster.sh")
    with person.step("concord cluster init ssh: its files"):
        hosts = [argument for host in lab.hosts for argument in ("--host", host.name)]
        init = ["cluster", "init", "ssh", *hosts, "--storage", str(runs), "--name", "team"]
        person.here(*CONCORD, *init, "--out", str(files))
    with person.step("cluster.sh start: Ray on three hosts, with a token"):
        person.here("bash", script, "start")
    with person.step("concord submit -- train demo, two workers on two hosts: to its exit code"):
        options = f"cluster.storage={runs} cluster.workers=2 cluster.cpus_per_worker=2"
        told = person.on_head(f"{concord} submit --name walk -- train demo {options}")
    print("".join(f"           {line}\n" for line in told.splitlines()[-12:]))
    with person.step("concord jobs; concord logs"):
        person.on_head(f"{concord} jobs && {concord} logs walk")
    export = runs / "walk/export"
    with person.step("concord predict, on the head"):
        print(person.on_head(f"{concord} predict {export} sst 'A gripping story, beautifully told.'"), end="")
    with person.step("plain transformers, on the person's machine"):
        print(person.here(sys.executable, "-c", _PLAIN, str(export)), end="")
    with person.step("cluster.sh stop"):
        person.here("bash", script, "stop")
    left = {host.name: own for host in lab.hosts if (own := list(host.processes().values()))}
    print(f"left on the hosts: {left or 'nothing'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ssh"]:
        ssh(sys.argv[2:])
    with Lab(hosts=3) as lab:
        walk(lab)
