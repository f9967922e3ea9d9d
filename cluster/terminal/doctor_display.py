"""What the doctor found, a line for each."""

from rich.console import Console

from cluster.storage.finding import Finding


def show_findings(
    place: str, kind: str, busy: str | None, findings: tuple[Finding, ...], mended: tuple[Finding, ...]
) -> None:
    """Print the findings, what was mended first."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if busy:
        console.print(f"{place} is held by {busy}; look again when it has ended")
    for finding in sorted(findings, key=lambda finding: finding not in mended):
        done = "mended" if finding in mended else "can be mended by --fix" if finding.mend else "to do"
        console.print(f"{finding.path}: {finding.problem}; {done}: {finding.advice}")
    if not findings and not busy:
        console.print(f"{place}: nothing is wrong with this {kind}")
