"""Finding the first members of a cluster: the discovery protocol, its service, DNS."""
