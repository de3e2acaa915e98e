"""Ask the Open Source Vulnerabilities database (osv.dev) about every version in a lock.

python .ci/audit.py requirements.lock

Exit status: 0 nothing is known, or the database is not reachable, which is said; 1 a vulnerability
is known, or the answer cannot be understood; 2 there is no such lock.
"""

from __future__ import annotations

import json
import re
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

DATABASE = "https://api.osv.dev/v1/querybatch"
TIMEOUT = 30.0  # seconds


def locked(lock: str) -> list[tuple[str, str]]:
    """Name and version of everything in the text of a lock, each once, in order."""
    return sorted(set(re.findall(r"^([A-Za-z0-9][\w.-]*)==([\w.!+-]+)", lock, re.M)))


def ask(packages: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The database's answer on each package.

    Raises:
        OSError, HTTPException: the database is not reachable.
        ValueError: it answered something else.
    """
    queries = [
        {"package": {"ecosystem": "PyPI", "name": name}, "version": version}
        for name, version in packages
    ]
    headers = {"Content-Type": "application/json"}
    request = Request(DATABASE, json.dumps({"queries": queries}).encode(), headers)
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  the URL is a constant
            results = json.load(answer).get("results")
    except HTTPError as error:
        if error.code != 400:
            raise
        raise ValueError("it does not understand the question") from None
    if not isinstance(results, list) or len(results) != len(packages):
        raise ValueError("not one answer for each package")
    return results


def main(path: str) -> int:
    try:
        packages = locked(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        print(f"error: {path}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        results = ask(packages)
    except (OSError, HTTPException) as error:
        print(f"osv.dev is not reachable ({error}): nothing was checked")
        return 0
    except (ValueError, AttributeError) as error:
        print(f"error: osv.dev: the answer cannot be understood ({error})", file=sys.stderr)
        return 1
    found = [
        f"{name} {version}: https://osv.dev/vulnerability/{vulnerability.get('id')}"
        for (name, version), result in zip(packages, results, strict=True)
        for vulnerability in result.get("vulns") or []
    ]
    if found:
        print("\n".join(found))
        message = f"{len(found)} known vulnerabilities; raise the versions, then make lock"
        print(f"error: {message}", file=sys.stderr)
        return 1
    print(f"{len(packages)} packages, and no known vulnerability in any")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
