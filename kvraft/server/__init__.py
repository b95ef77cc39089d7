"""One member of a cluster: the driver around core, storage and store, and the process around it."""
