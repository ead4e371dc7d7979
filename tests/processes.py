"""Processes of this machine."""

from pathlib import Path


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has waited for yet."""
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
