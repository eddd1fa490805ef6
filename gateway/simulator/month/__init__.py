"""A labelled month of a mixed fleet, without sockets: what real fleets do, as a trace with its truth.

facts.py      every number, each with its reason in docs/simulator.md
world.py      what vehicles share: customers, roads with their holes, the calendar, outages
vehicle.py    one vehicle and its terminal, and what befalls it
activity.py   when it moves, idles, stands, sleeps and is switched off
places.py     where it is then; network.py when it cannot be heard; reports.py what it sends
signs.py      what a fault shows of itself, and healthy terminals now and then
build.py      all of it as three files
"""
