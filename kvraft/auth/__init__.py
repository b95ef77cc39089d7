"""Users, roles and permissions of the v2 API."""
