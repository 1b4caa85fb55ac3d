"""python3 -m checker: many runs, or the one that another of these starts. See scripts/check-history."""

import argparse
import importlib
import random
import subprocess
import sys
import time

RUN_LIMIT_S = 300
ROOM_WITHIN_S = 120
OUTSIDERS_EACH = 4  # so many runs, by their seeds: three of each dozen, and all else is as it would be without them


def arguments():
    parser = argparse.ArgumentParser(prog="check-history", description="Runs real fleets under random faults, and checks what "
                                     "their clients saw against what is promised.")
    parser.add_argument("--runs", type=int, default=12, help="how many (default: 12)")
    parser.add_argument("--seed", type=int, help="of the first run; the others' follow it (default: drawn)")
    parser.add_argument("--minutes", type=float, help="begin no further run after that time, whatever --runs says")
    parser.add_argument("--seconds", type=float, default=3.0, help="of faults in each run (default: 3)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--kills", type=int, help="instead of fleets, a daemon alone that ends so often in each run, mostly by SIGKILL")
    parser.add_argument("--faults", help="only those, separated by commas: see tests/fault/checker/faults.py")
    parser.add_argument("--outsiders", action="store_true", help="in each run, not in one of four: somebody else writes to the "
                        "upstream, and daemons pass commands on")
    parser.add_argument("--until-failure", action="store_true", help="begin no further run once one has failed")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def machinery(name):
    """That module, as soon as one of the port ranges that processes under test share is free."""
    until = time.monotonic() + ROOM_WITHIN_S
    while True:
        try:
            return importlib.import_module(name)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def one(args):
    if args.kills:
        kept, text = machinery("checker.alone").run(args.seed, args.kills)
        print(text, flush=True)
        return 0 if kept else 1
    run = machinery("checker.run")
    rng = random.Random(f"{args.seed} config")
    config = run.Config.drawn(rng, seconds=args.seconds, faults=tuple(args.faults.split(",")) if args.faults else None)
    if args.outsiders or args.seed % OUTSIDERS_EACH == 0:
        config.with_outsiders(random.Random(f"{args.seed} outsiders"))
    kept, text = run.run(config, args.seed)
    print(text, flush=True)
    return 0 if kept else 1


def start(args, seed):
    words = [sys.executable, "-m", "checker", "--one", "--seed", str(seed), "--seconds", str(args.seconds)]
    words += ["--faults", args.faults] if args.faults else []
    words += ["--kills", str(args.kills)] if args.kills else []
    words += ["--outsiders"] if args.outsiders else []
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    child.seed, child.deadline = seed, time.monotonic() + RUN_LIMIT_S
    return child


def finish(child):
    """Prints what it said. Whether it was well."""
    try:
        text, _ = child.communicate(timeout=max(0.1, child.deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        text = child.communicate()[0] + f"\nseed {child.seed}: FAILED, still running after {RUN_LIMIT_S} s"
    print(text.rstrip(), flush=True)
    if child.returncode not in (0, 1):
        print(f"seed {child.seed}: FAILED, exit status {child.returncode}", flush=True)
    return child.returncode == 0


def many(args):
    first = args.seed if args.seed is not None else random.randrange(1 << 31)
    until = time.monotonic() + args.minutes * 60 if args.minutes else None
    print(f"first seed {first}", flush=True)
    running, kept, failed = [], 0, []
    seeds = iter(range(first, first + args.runs))
    seed = next(seeds, None)
    while True:
        enough = (until is not None and time.monotonic() >= until) or (failed and args.until_failure)
        while seed is not None and not enough and len(running) < args.jobs:
            running.append(start(args, seed))
            seed = next(seeds, None)
        if not running:
            break
        child = running.pop(0)
        if finish(child):
            kept += 1
        else:
            failed.append(child.seed)
    print(f"{kept} passed, {len(failed)} failed{': seeds ' + ' '.join(map(str, failed)) if failed else ''}")
    return 1 if failed or not kept else 0


if __name__ == "__main__":
    ARGS = arguments()
    sys.exit(one(ARGS) if ARGS.one else many(ARGS))
