"""Version, health and statistics. (admin-api, sections 2 and 5; keys-api, section 13.)"""

from __future__ import annotations

from typing import Final

from kvraft.api.exchange import HEALTH, Exchange
from kvraft.api.response import JSON, PLAIN_ERROR, go_json
from kvraft.api.routes import Router, plain_text
from kvraft.api.service import Service
from kvraft.versions import SERVER_VERSION

_GET: Final = (b"GET",)


class StatisticsRoutes:
    """Serves what says how a member is doing."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def version(self, exchange: Exchange) -> None:
        """Serve `/version`."""
        document = {
            "etcdserver": SERVER_VERSION,
            "etcdcluster": self._service.cluster_version or "not_decided",
        }
        exchange.respond(200, JSON, go_json(document))

    def health(self, exchange: Exchange) -> None:
        """Serve `/health`."""

        def known(healthy: bool) -> None:
            if healthy:
                plain_text(exchange, b'{"health": "true"}')
            else:
                exchange.respond(503, PLAIN_ERROR, b'{"health": "false"}\n')

        self._service.health(known)

    def own(self, exchange: Exchange) -> None:
        """Serve `/v2/stats/self`."""
        exchange.respond(200, JSON, go_json(self._service.self_stats()))

    def leader(self, exchange: Exchange) -> None:
        """Serve `/v2/stats/leader`."""
        stats = self._service.leader_stats()
        if stats is None:
            exchange.respond_message(403, "not current leader")
        else:
            exchange.respond(200, JSON, go_json(stats))

    def store(self, exchange: Exchange) -> None:
        """Serve `/v2/stats/store`."""
        store = self._service.store
        exchange.respond(200, JSON, store.stats.body(store.hub.count))


def add_statistics_routes(router: Router, service: Service) -> None:
    """Enter the routes of this module into a table."""
    routes = StatisticsRoutes(service)
    router.add(b"/version", _GET, routes.version)
    router.add(HEALTH, _GET, routes.health)
    router.add(b"/v2/stats/self", _GET, routes.own)
    router.add(b"/v2/stats/leader", _GET, routes.leader)
    router.add(b"/v2/stats/store", _GET, routes.store)
