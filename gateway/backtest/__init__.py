"""What would have been ticketed: the watch of this version on a virtual clock, over what was recorded.

trace.py       the file that holds months of contacts: written by columns, read in slices
tables.py      what is known of its terminals, and the truth about them, as CSV
stored.py      the store as a trace
replay.py      a slice as the columns that detectors read
run.py         the virtual clock: rounds of the watch, and a ledger for the store
events.py      what it tells
intervals.py   a terminal's own interval before a fault; scores.py the events held against the truth
study.py       all of it, for one question
"""
