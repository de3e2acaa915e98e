"""The machine that something was measured on, without its name."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from shared.bench.results import Machine
from shared.summary import versions


def describe_machine() -> Machine:
    """Processor, cores, system and versions."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "os": system(),
        "versions": versions(),
    }


def cores() -> int | None:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu() -> str:
    """The processor's name, as it gives it itself."""
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"^model name\s*: (.*)$", info.read_text(), re.M)):
        return " ".join(found[1].split())
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def system() -> str:
    """The operating system and its version."""
    if platform.system() == "Linux":
        try:
            return platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            return f"Linux {platform.release()}"
    return f"{platform.system()} {platform.mac_ver()[0] or platform.release()}"
