"""The v2 key space as a pure state machine: no clock, no input or output, no threads."""
