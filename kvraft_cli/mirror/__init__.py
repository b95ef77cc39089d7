"""Moving keys between servers: trees, dumps, comparison, and the mirror that follows a source."""
