"""What a request must say by its policy's form, what of it is missing, and how complete it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ticketing.policies import Policy

CLASSES = ("network", "hardware", "software", "consulting")
# What shows that an item is there; the others are under their own name.
_SHOWN: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "vehicle": lambda given: given.get("vehicle") or given.get("terminal"),
    "contacts": lambda given: given.get("reporter") or given.get("phone") or given.get("sender"),
}


def mandatory(policy: Policy, class_: str | None) -> list[str]:
    """The items that a request of a class must have, in the form's order, each once.

    Of a class that is not known yet: those of every class.
    """
    form = policy.file.form
    own = getattr(form, class_) if class_ in CLASSES else []
    return list(dict.fromkeys([*form.all, *own]))


def missing(policy: Policy, given: Mapping[str, Any]) -> list[str]:
    """The mandatory items that are not there.

    Parameters
    ----------
    given : what the request says: `class`, `description`, `steps`, `frequency`, `server`, `version`, `criticality`,
        `vehicle` or `terminal`, `reporter`, `phone` or `sender`, `attachments`; blank texts say nothing.
    """
    return [item for item in mandatory(policy, given.get("class")) if not _there(given, item)]


def completeness(policy: Policy, given: Mapping[str, Any]) -> int:
    """Percent of the mandatory items that are there, rounded down; 100 where none is asked.

    A ticket of the watch says all by itself: rule and packets are its steps, the registry knows the versions.
    """
    asked = mandatory(policy, given.get("class"))
    if not asked or given.get("channel") == "monitoring":
        return 100
    return 100 * sum(_there(given, item) for item in asked) // len(asked)


def _there(given: Mapping[str, Any], item: str) -> bool:
    value = _SHOWN[item](given) if item in _SHOWN else given.get(item)
    return bool(value.strip()) if isinstance(value, str) else bool(value)
