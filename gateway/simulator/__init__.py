"""Fleets of simulated terminals with ground truth: what was sent, acknowledged and broken on purpose.

scenario.py    what fleet is wanted: a TOML file or the defaults
fleet.py       vehicles and their readings: a pure function of the seed
faults.py      which terminal gets which fault, and when: a pure function of the seed too
truth.py       what was sent and acknowledged, and every wrong word the server said
links.py       sockets
run.py         a whole fleet against its targets

The terminal's side of each protocol stands in `protocols`, as `terminal.py` of its package.
"""
