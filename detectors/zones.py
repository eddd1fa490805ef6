"""In which zone a fault probably lies, from what was measured before it.

First version: three signs of the terminal's own last measures and connections. A zone is a guess with a
confidence; "unknown" is one of them. The names are those of the support model (S3-15).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW_VOLTAGE = 9.0  # V: a 12 V board net below it starts no engine and soon resets a terminal
SAG_SHARE = 0.7  # of the usual voltage: more than cranking, which lasts a second
WEAK_SIGNAL = 20.0  # percent: one bar, where GPRS sessions break
DAMAGED_CONNECTIONS = 2  # of the last ones: one is chance


def silence_zone(
    voltage: NDArray[np.float64], signal: NDArray[np.float64], malformed: NDArray[np.int64]
) -> tuple[str, float, str]:
    """Name the probable zone of a silence.

    Parameters
    ----------
    voltage, signal : float64 arrays, shape (n,)
        External power in V and GSM signal in percent of the last records, oldest first; NaN = not told.
    malformed : int64 array, shape (m,)
        Damaged frames of the last connections, newest first.

    Returns
    -------
    zone, confidence 0 to 1, and the reason in words
    """
    told = voltage[~np.isnan(voltage)]
    if told.size:
        usual = float(np.median(told))
        last = float(told[-1])
        if last < LOW_VOLTAGE or last < SAG_SHARE * usual:
            return "power", 0.7, f"external power fell to {last:g} V before the silence (usually {usual:g} V)"
    if int((malformed > 0).sum()) >= DAMAGED_CONNECTIONS:
        return "firmware", 0.5, "the last connections brought damaged frames"
    heard = signal[~np.isnan(signal)]
    if heard.size and heard[-1] <= WEAK_SIGNAL:
        return "operator", 0.4, f"GSM signal was {heard[-1]:g} % before the silence"
    return "unknown", 0.0, "no sign in the last records and connections"
