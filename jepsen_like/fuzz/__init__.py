"""All damage and all power cuts on a small log, in memory: nothing is left to chance.

history    a short life of a member's storage, and what must be found after each of its steps
judge      whether what a start made of it is right
damage     every bit flipped, every file cut off at every byte, every file gone
cuts       every moment at which the power can go, with everything that may survive it
command    `python -m jepsen_like fuzz`
"""
