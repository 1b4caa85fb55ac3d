"""Which promises the daemon under test makes: some come with a feature, which its table of settings tells of. What is
not promised yet is not checked; the list below says what that is.

    always           P1 P2 P3 P4 P5 P9 as docs/guide.md has them
    replay_keeps     P5: what was written while the upstream was down is replayed unless someone wrote the key since.
    queue_survives   P5: the queue of an outage outlives the daemon. Without files, kill -9 or a restart forgets it.
    shown_is_kept    P2: a value that a reader was shown while its writer still waited for OK outlives a kill -9 right then.
                     Without it only what was acknowledged does, and that reader may see an older value afterwards.
    fence            P3: also when the event link hears a server that is not the upstream any more.
    gaps_watched     P7: also what others than harcads wrote while the event link was away.
"""

import dataclasses
import subprocess


@dataclasses.dataclass(frozen=True)
class Promises:
    replay_keeps: bool = False
    queue_survives: bool = False
    shown_is_kept: bool = False
    fence: bool = False
    file_tier: bool = False
    gaps_watched: bool = False


# The setting that a promise came with.
BY_SETTING = {
    "fleet.journal_len": ("fence",),
    "file.dir": ("file_tier",),
    "upstream.queue_bytes": ("replay_keeps", "queue_survives"),
}


def settings_of(binary):
    """The names in the daemon's table of settings."""
    text = subprocess.run([binary, "--describe=settings"], capture_output=True, check=True, text=True, timeout=30).stdout
    return {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}


def made_by(binary, given=None):
    """By that daemon, with those settings."""
    settings, given = settings_of(binary), given or {}
    made = {name: True for setting, names in BY_SETTING.items() if setting in settings for name in names}
    if given.get("file.enabled") == "no":
        made["queue_survives"] = False
    made["gaps_watched"] = given.get("upstream.foreign_writes") == "strict"
    return Promises(**made)
