"""Which function answers which request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mqd.venue import account_api, history_api, market_api, markets_api
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import NOT_FOUND, Refused
from mqd.venue.orders_api import OrdersApi
from mqd.venue.positions_api import PositionsApi
from mqd.venue.submit import OrderDesk

if TYPE_CHECKING:
    from mqd.venue.venue import Venue

Handler = Callable[[AccountBook, Request], Answer]


class Routes:
    """The trading routes, by method and path; a path's last part may vary ("{}")."""

    def __init__(self, venue: Venue, desk: OrderDesk, *, refuses_unpayable: bool) -> None:
        self._venue = venue
        orders = OrdersApi(desk, refuses_unpayable=refuses_unpayable)
        positions = PositionsApi(desk)
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/v2/account"): account_api.get_account,
            ("GET", "/v2/account/configurations"): account_api.get_configurations,
            ("PATCH", "/v2/account/configurations"): account_api.patch_configurations,
            ("GET", "/v2/account/activities"): account_api.get_activities,
            ("GET", "/v2/account/activities/{}"): account_api.get_activities,
            ("GET", "/v2/account/portfolio/history"): history_api.get_history,
            ("GET", "/v2/orders"): orders.get_all,
            ("POST", "/v2/orders"): orders.post,
            ("DELETE", "/v2/orders"): orders.delete_all,
            ("GET", "/v2/orders:by_client_order_id"): orders.get_by_client_id,
            ("GET", "/v2/orders/{}"): orders.get_one,
            ("PATCH", "/v2/orders/{}"): orders.patch,
            ("DELETE", "/v2/orders/{}"): orders.delete_one,
            ("GET", "/v2/positions"): positions.get_all,
            ("DELETE", "/v2/positions"): positions.delete_all,
            ("GET", "/v2/positions/{}"): positions.get_one,
            ("DELETE", "/v2/positions/{}"): positions.delete_one,
            ("GET", "/v2/assets"): market_api.get_assets,
            ("GET", "/v2/assets/{}"): market_api.get_asset,
            ("GET", "/v2/calendar"): market_api.get_calendar,
            ("GET", "/v2/clock"): market_api.get_clock,
            ("GET", "/v3/clock"): markets_api.get_clock,
            ("GET", "/v3/calendar/{}"): markets_api.get_calendar,
        }
        self._heads = [
            (method, path[:-2], handler)
            for (method, path), handler in self._handlers.items()
            if path.endswith("{}")
        ]

    def answer(
        self,
        book: AccountBook,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Answer:
        """Carry a request out for an account."""
        handler, argument = self._find(method, path)
        if handler is None:
            return self._elsewhere(method, path)
        try:
            return handler(book, Request(argument, query, body))
        except Refused as refused:
            return Answer(refused.status, refused.body())

    def _find(self, method: str, path: str) -> tuple[Handler | None, str]:
        handler = self._handlers.get((method, path))
        if handler is not None:
            return handler, ""
        for verb, head, candidate in self._heads:
            if verb == method and path.startswith(head) and len(path) > len(head):
                return candidate, path[len(head) :]
        return None, ""

    def _elsewhere(self, method: str, path: str) -> Answer:
        known = any(self._find(verb, path)[0] for verb in ("GET", "POST", "PATCH", "DELETE"))
        if known:
            return Answer(405, {"message": f"{method} is not allowed on {path}"})
        return Answer(404, Refused(404, NOT_FOUND, f"endpoint not found: {path}").body())
