#!/usr/bin/env python3
"""Runs the steps of the Dockerfile without a container engine: each stage in a folder of its own, as a chroot.

    sudo packages/docker/rehearse.py <scratch> [--bin target/debug/pipe] [--skip COMMAND]...

The base images are stood in for by Debian's own packages (debootstrap), `rust` with this machine's toolchain beside
them. COPY honours Dockerfile.dockerignore. `--bin` gives a program that is built already, which takes the half hour of
the build out of a rehearsal; `--skip` leaves out one command of a RUN step. Whatever is left out is printed at the end.
It needs root, Linux, debootstrap and the network of Debian's packages. What only an engine can do (layers, the user
namespace, volumes, EXPOSE) is not rehearsed.
"""
import argparse
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEBIAN = "bookworm"
# What `rust:*-bookworm` has from `buildpack-deps`, as far as a build can notice.
RUST_IMAGE = "ca-certificates,curl,g++,gcc,git,libc6-dev,make,perl,pkg-config"


def instructions(text):
    """(instruction, argument) of each step; comments and line ends within a step are gone."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    for step in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        name, _, argument = step.strip().partition(" ")
        yield name.upper(), argument.strip()


def ignored(path, rules):
    """Whether .dockerignore leaves a path out: the last rule that matches it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    out = False
    for rule in rules:
        keep = rule.startswith("!")
        pattern = rule.lstrip("!")
        names = [pattern, pattern[3:]] if pattern.startswith("**/") else [pattern]
        match = any(
            pattern == "**" or fnmatch.fnmatchcase(p, n) or (pattern.startswith("**/") and p.endswith("/" + n))
            for p in above
            for n in names
        )
        if match:
            out = not keep
    return out


class Stage:
    def __init__(self, folder, base, options):
        self.folder, self.options = folder, options
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.args, self.work, self.user, self.entry, self.command = {}, "/", "0:0", [], []
        self.mounts = []
        bootstrap(folder, RUST_IMAGE if base.startswith("rust:") else None)
        if base.startswith("rust:"):
            # The toolchain itself and read-only, without rustup: what runs here must not change this machine.
            sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, check=True, capture_output=True, text=True)
            self.mount(sysroot.stdout.strip(), "usr/local/rust", read_only=True)
            self.env |= {"CARGO_HOME": "/usr/local/cargo", "PATH": "/usr/local/rust/bin:" + self.env["PATH"]}
            registry = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "registry"
            if registry.exists() and not (folder / "usr/local/cargo/registry").exists():
                shutil.copytree(registry, folder / "usr/local/cargo/registry", symlinks=True)
        self.mount("/proc", "proc")
        self.mount("/dev", "dev")
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        # This machine's sources, which may be a mirror, instead of debootstrap's.
        (folder / "etc/apt/sources.list").unlink(missing_ok=True)
        for extra in ("/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"):
            shutil.copytree(extra, folder / extra.lstrip("/"), dirs_exist_ok=True)

    def mount(self, source, target, read_only=False):
        target = self.folder / target
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--rbind", "--make-rslave", str(source), str(target)], check=True)
        if read_only:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(target)], check=True)
        self.mounts.append(target)

    def close(self):
        for target in reversed(self.mounts):
            subprocess.run(["umount", "-R", "-l", str(target)], check=False)

    def expand(self, text):
        known = self.env | self.args
        return re.sub(r"\$\{?(\w+)\}?", lambda m: known.get(m[1], ""), text)

    def run(self, argv, env=None, user="0:0", check=True):
        # The passthrough is for a machine that reaches its registries through settings of its own.
        outer = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k.startswith(("CARGO_", "PIPE_GUEST_"))}
        outer.pop("CARGO_HOME", None)
        chroot = ["chroot", f"--userspec={user}", str(self.folder), "sh", "-c", f'cd {self.work} && exec "$@"', "sh", *argv]
        return subprocess.run(chroot, env=outer | self.env | self.args | (env or {}), check=check)

    def step(self, name, argument, stages):
        if name == "RUN":
            left = []
            for command in self.options.skip:
                if command in argument:
                    argument = argument.replace(command, "true")
                    left.append(command)
            env = {"PIPE_BIN": "/rehearsal/pipe"} if self.options.bin and "release.sh" in argument else {}
            self.run(["sh", "-c", argument], env=env, user=self.user)
            return left + (["the cargo build within scripts/release.sh"] if env else [])
        if name == "COPY":
            self.copy(argument, stages)
        elif name == "ENV":
            self.env |= {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', self.expand(argument))}
        elif name == "ARG":
            key, _, value = argument.partition("=")
            self.args[key] = value.strip('"')
        elif name == "WORKDIR":
            self.work = argument
            (self.folder / argument.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            self.user = argument
        elif name in ("ENTRYPOINT", "CMD"):
            setattr(self, "entry" if name == "ENTRYPOINT" else "command", json.loads(argument))
        elif name not in ("LABEL", "VOLUME", "EXPOSE", "STOPSIGNAL"):
            sys.exit(f"rehearse: {name} is not known")
        return []

    def copy(self, argument, stages):
        words = argument.split()
        source_stage = next((w.split("=")[1] for w in words if w.startswith("--from=")), None)
        *sources, target = [w for w in words if not w.startswith("--")]
        target = self.folder / (pathlib.PurePosixPath(self.work) / target).as_posix().lstrip("/")
        for source in sources:
            if source_stage:
                shutil.copytree(stages[source_stage].folder / source.strip("/"), target, dirs_exist_ok=True, symlinks=True)
                continue
            rules = [r for r in (HERE / "Dockerfile.dockerignore").read_text().split("\n") if r and not r.startswith("#")]
            listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
            for file in listed.stdout.split("\0"):
                inside = source in (".", file) or file.startswith(source.rstrip("/") + "/")
                if file and inside and not ignored(file, rules):
                    to = target / (file if source == "." else pathlib.Path(file).name)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / file, to)


def bootstrap(folder, include):
    if (folder / "bin/sh").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", *([f"--include={include}"] if include else []), DEBIAN, str(folder)]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path)
    parser.add_argument("--skip", action="append", default=[])
    options = parser.parse_args()
    stages, current, left = {}, None, []
    try:
        for name, argument in instructions((HERE / "Dockerfile").read_text()):
            print(f"--- {name} {argument}", flush=True)
            if name == "FROM":
                base, _, alias = argument.partition(" AS ")
                alias = alias or "runtime"
                current = stages[alias] = Stage(options.scratch.resolve() / alias, base, options)
                if options.bin and base.startswith("rust:"):
                    (current.folder / "rehearsal").mkdir(exist_ok=True)
                    shutil.copy2(options.bin, current.folder / "rehearsal/pipe")
                continue
            left += current.step(name, argument, stages)
        prove(stages["runtime"])
    finally:
        for stage in stages.values():
            stage.close()
    print("--- rehearsed" + (f", without: {'; '.join(left)}" if left else ", all of it"))


def prove(stage):
    """Starts the image's own command as the image's user: a bounded pipeline, read from where the image says."""
    (stage.folder / "etc/pipe").mkdir(parents=True, exist_ok=True)
    (stage.folder / "etc/pipe/pipeline.yaml").write_text(
        "name: rehearsal\nsources: { rows: { generate: { count: 1000, seed: 1 } } }\n"
        "stages: { slow: { from: rows, use: filter, config: { all: [{ column: latency_ms, op: gt, value: 250 }] } } }\n"
        "sinks: { out: { from: slow, blackhole: {} } }\n"
        "dead_letters: { file: { path: /var/lib/pipe/dead-letters.jsonl } }\n"
    )
    program = stage.entry[0]
    stage.run([program, "--version"], user=stage.user)
    cache = stage.folder / stage.env["PIPE_CACHE"].lstrip("/")
    uid = int(stage.user.split(":")[0])
    if cache.stat().st_mode & 0o777 != 0o700 or cache.stat().st_uid != uid or not any(cache.iterdir()):
        sys.exit("rehearse: the image holds no compiled stages")
    held = [(entry.name, entry.stat().st_ino) for entry in sorted(cache.iterdir())]
    stage.run(stage.entry + stage.command + ["--until-end"], user=stage.user)
    if held != [(entry.name, entry.stat().st_ino) for entry in sorted(cache.iterdir())]:
        sys.exit("rehearse: a stage was compiled that the image holds")


main()
