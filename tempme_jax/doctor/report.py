"""Check the installation: what works, what is missing, and the command that fixes it."""

import dataclasses
import json
import platform
import textwrap
from collections.abc import Callable, Iterable, Iterator

from tempme_jax.doctor import hardware, index, software, storage
from tempme_jax.doctor.finding import Finding, State
from tempme_jax.version import __version__

# Columns and lines of a screen. Commands are never broken into lines.
WIDTH, HEIGHT = 100, 30
Probe = Callable[[], Iterable[Finding]]
# The checks, by topic.
PROBES: dict[str, Probe] = {
    "system": hardware.check_system,
    "libraries": software.check_libraries,
    "decoders": software.check_decoders,
    "devices": hardware.check_devices,
    "cpus": hardware.check_cpus,
    "memory": hardware.check_memory,
    "compiled": storage.check_compile_cache,
    "weights": storage.check_weights,
    "disk": storage.check_disk,
    "limits": storage.check_limits,
    "index": index.check_index,
    "extras": software.check_extras,
}
# If a check of one of these topics fails, tempme_jax does not work either.
NEEDED = ("libraries", "decoders", "devices")


@dataclasses.dataclass(frozen=True)
class DoctorReport:
    """The findings of all checks.

    Attributes:
        version: version of tempme_jax.
        python: version of Python.
        system: the operating system and the kind of processor.
        findings: in the order of the checks.
    """

    version: str
    python: str
    system: str
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """True if nothing is missing that tempme_jax needs."""
        return all(finding.state != State.MISSING for finding in self.findings)


def examine(probes: dict[str, Probe] | None = None) -> DoctorReport:
    """Check the installation in a few seconds; change nothing and raise nothing.

    Args:
        probes: the checks, by topic; None for all of `PROBES`.
    """
    probes = PROBES if probes is None else probes
    findings = [finding for topic, probe in probes.items() for finding in run_probe(topic, probe)]
    system = f"{platform.system()} {platform.machine()}"
    return DoctorReport(__version__, platform.python_version(), system, tuple(findings))


def run_probe(topic: str, probe: Probe) -> Iterator[Finding]:
    """Yield the findings of a check and, if it fails, one more that says why."""
    try:
        yield from probe()
    # An installation can be broken in any way, and the report has to say so.
    except Exception as error:
        state = State.MISSING if topic in NEEDED else State.UNKNOWN
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 180)
        absent = state == State.MISSING and isinstance(error, ModuleNotFoundError)
        cure = software.make_install_command() if absent else ""
        yield Finding(topic, state, f"the check failed: {reason}", cure)


def format_text(report: DoctorReport) -> str:
    """Return the report as one screen of text; leave out optional parts if it is too long."""
    head = [f"tempme_jax {report.version}, Python {report.python}, {report.system}", ""]
    shown, more = list(report.findings), []
    optional = [finding for finding in shown if finding.state == State.OPTIONAL]
    # The extras that most people need come first.
    while optional and sum(len(format_finding(one)) for one in shown) + len(more) > HEIGHT - 4:
        shown.remove(optional.pop())
        more = ["More optional parts that are missing: tempme doctor --json"]
    body = [line for finding in shown for line in format_finding(finding)] + more
    verdict = "Ready: everything that tempme_jax needs is here."
    if not report.ready:
        verdict = "Not ready: see the lines that begin with MISSING."
    return "\n".join([*head, *body, "", verdict])


def format_finding(finding: Finding) -> list[str]:
    """Return a finding as lines; the cure gets a line of its own if there is no room for it."""
    state = finding.state.upper() if finding.state == State.MISSING else finding.state
    start = f"{state:<9}{finding.topic:<11}"
    indent = " " * len(start)
    whole = f"{start}{finding.text}: {finding.cure}"
    if finding.cure and len(whole) <= WIDTH:
        return [whole]
    lines = textwrap.wrap(
        finding.text, WIDTH, initial_indent=start, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [*lines, f"{indent}  {finding.cure}"] if finding.cure else lines


def format_json(report: DoctorReport) -> str:
    """Return the report as a JSON object, with the values behind the findings."""
    return json.dumps({"ready": report.ready, **dataclasses.asdict(report)}, indent=1, default=str)
