"""Words for a run that failed: what contradicts what, what else happened to that key then, and which faults were
active."""

CONTEXT_S = 0.15
VIOLATIONS_SHOWN = 8
LINES_SHOWN = 60


def contradiction(violation):
    return "\n".join([f"{violation.promise}: {violation.text}"] +
                     [f"  >> {item}" for item in sorted(violation.ops, key=time_of)])


def describe(violation, ops, timeline, windows):
    lines = [contradiction(violation)]
    times = [time_of(item) for item in violation.ops]
    since, until = min(times) - CONTEXT_S, max(times) + CONTEXT_S
    keys = {key for item in violation.ops if (key := getattr(item, "key", None))}
    active = [w for w in windows if w.since <= until and (w.until is None or w.until >= since)]
    lines += ["  faults then:"] + [f"     {w}" for w in active] if active else ["  no fault then"]
    lines.append("  what else happened to it:")
    lines += [f"     {line}" for line in shortened(around(keys, ops, timeline, since, until))]
    return "\n".join(lines)


def time_of(item):
    return getattr(item, "sent", None) or getattr(item, "at", 0.0)


def around(keys, ops, timeline, since, until):
    items = [op for op in ops if (op.key in keys or op.key is None) and since <= op.sent <= until]
    for key in keys:
        items += [c for c in timeline.changes[key] if since <= c.at <= until]
    for epochs in timeline.epochs.values():
        items += [e for e in epochs if since <= e.at <= until]
    return [str(item) for item in sorted(items, key=time_of)]


def shortened(lines):
    if len(lines) <= LINES_SHOWN:
        return lines
    half = LINES_SHOWN // 2
    return lines[:half] + [f"… {len(lines) - 2 * half} lines …"] + lines[-half:]


def failure(config, seed, violations, trouble, history_path):
    """The end of a report: what there is to know when no more than that has been kept."""
    counts = {}
    for violation in violations:
        counts[violation.promise] = counts.get(violation.promise, 0) + 1
    lines = [f"seed {seed}: FAILED, {', '.join(f'{n} of {p}' for p, n in counts.items()) or 'in other ways'}"]
    lines += [f"trouble: {text}" for text in trouble]
    lines.append(f"rerun: scripts/check-history {config.arguments()} --runs 1 --seed {seed}")
    lines.append(f"all of it: {history_path}")
    lines += [contradiction(violation) for violation in violations[:1]]
    return "\n".join(lines)
