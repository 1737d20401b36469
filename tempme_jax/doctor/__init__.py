"""Whether all is here that tempme_jax needs, and what is missing for what: gathered, and printed.

The other modules look at one kind of thing each. (`tempme_jax.datasets.check` is for data sets.)
"""

import dataclasses
import json
import platform
import textwrap
from collections.abc import Iterator

from tempme_jax.doctor import hardware, software, storage
from tempme_jax.doctor.finding import Finding, Probe, State
from tempme_jax.version import __version__

# Of the screen, in columns and lines; a command is never broken.
WIDTH, HEIGHT = 100, 30
# What is looked at, by topic.
PROBES: dict[str, Probe] = {
    "libraries": software.libraries,
    "decoders": software.decoders,
    "devices": hardware.devices,
    "cpus": hardware.cpus,
    "memory": hardware.memory,
    "compiled": storage.compiled,
    "weights": storage.weights,
    "disk": storage.disk,
    "limits": storage.limits,
    "extras": software.extras,
}
# Where one of these cannot be found out, what needs it does not work either.
NEEDED = ("libraries", "decoders", "devices")


@dataclasses.dataclass(frozen=True)
class Report:
    """All that was found.

    Attributes:
        version: of tempme_jax.
        python: version of Python.
        system: the operating system and the kind of processor.
        findings: in the order of the probes.
    """

    version: str
    python: str
    system: str
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether all is here that is needed."""
        return all(finding.state != State.MISSING for finding in self.findings)


def examine(probes: dict[str, Probe] | None = None) -> Report:
    """Looks at everything, in a few seconds; changes nothing, and raises nothing.

    Args:
        probes: what to look at, by topic; None for all of `PROBES`.
    """
    probes = PROBES if probes is None else probes
    findings = [finding for topic, probe in probes.items() for finding in attempt(topic, probe)]
    system = f"{platform.system()} {platform.machine()}"
    return Report(__version__, platform.python_version(), system, tuple(findings))


def attempt(topic: str, probe: Probe) -> Iterator[Finding]:
    """What a probe finds, and why it found no more if it failed."""
    try:
        yield from probe()
    # What is looked at may be broken in any way, and to say so is what all this is for.
    except Exception as error:
        needed = topic in NEEDED
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 180)
        cure = software.install() if needed and isinstance(error, ModuleNotFoundError) else ""
        state = State.MISSING if needed else State.UNKNOWN
        yield Finding(topic, state, f"could not be found out: {reason}", cure)


def as_text(report: Report) -> str:
    """The report as a screen of plain text, without what is optional where all is too long."""
    head = [f"tempme_jax {report.version}, Python {report.python}, {report.system}", ""]
    body = [line for finding in report.findings for line in lines_of(finding)]
    if len(body) > HEIGHT - 4:
        rest = [finding for finding in report.findings if finding.state != State.OPTIONAL]
        body = [line for finding in rest for line in lines_of(finding)]
        body.append("What is optional and not here: tempme doctor --json")
    verdict = "Ready: all that is needed is here."
    if not report.ready:
        verdict = "Not ready: see what is MISSING."
    return "\n".join([*head, *body, "", verdict])


def lines_of(finding: Finding) -> list[str]:
    """A finding as lines, the cure on one of its own where there is no room for it."""
    state = finding.state.upper() if finding.state == State.MISSING else finding.state
    start = f"{state:<9}{finding.topic:<11}"
    indent = " " * len(start)
    whole = f"{start}{finding.text}: {finding.cure}"
    if finding.cure and len(whole) <= WIDTH:
        return [whole]
    lines = textwrap.wrap(
        finding.text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [*lines, f"{indent}  {finding.cure}"] if finding.cure else lines


def as_json(report: Report) -> str:
    """The report as an object of JSON, with the values behind the findings."""
    return json.dumps({"ready": report.ready, **dataclasses.asdict(report)}, indent=1, default=str)
