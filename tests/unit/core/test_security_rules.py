"""Exceptions from the security rules of ruff, which are those of bandit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_EXCEPTION = re.compile(r"#\s*noqa:\s*(?P<codes>[A-Z0-9, ]+)(?P<reason>.*)")


def test_every_exception_has_its_reason_next_to_it() -> None:
    """A line of the product that a security rule may not judge says why; no line switches all rules off."""
    without = []
    for package in ("core", "sdk", "runtime", "provisioner", "localstack", "server"):
        for path in (_ROOT / package).rglob("*.py"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = _EXCEPTION.search(line)
                is_security = found and re.search(r"\bS\d{3}\b|\bS\b", found["codes"])
                if is_security and not re.fullmatch(r"-\s+\S.{5,}", found["reason"].strip()):
                    without.append(f"{path.relative_to(_ROOT)}:{number}")
                assert not re.search(r"#\s*noqa\s*$|#\s*nosec", line), f"{path}:{number}"
    assert without == []


def test_the_rules_are_on() -> None:
    """Ruff's security rules judge the product; whole rules that are off have a comment."""
    lint = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    text = (_ROOT / "pyproject.toml").read_text()
    off = [rule for rule in lint["ignore"] if re.fullmatch(r"S\d+", rule)]
    for rule in off:
        assert re.search(rf'"{rule}".*#\s*\S', text), rule
    product = [place for place, rules in lint["per-file-ignores"].items() if "S" in rules]
    assert {place.partition("/")[0] for place in product} <= {
        "tests",
        "benchmarks",
        "examples",
        "scripts",
        "sdk",
    }
    assert all(not place.startswith("sdk") or "templates" in place for place in product)
