"""Kinds of incidents and tickets that no single detector names."""

from __future__ import annotations

STORM = "storm"  # a group whose members share nothing but the time
MASS = "mass-silence"  # a group with a cause in common
PLATFORM = "platform"  # we ourselves
COMMON = (MASS, PLATFORM)  # groups that have a cause in common
