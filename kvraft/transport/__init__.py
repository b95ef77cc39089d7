"""Members talking to each other: streams of msgpack frames on the peer port."""
