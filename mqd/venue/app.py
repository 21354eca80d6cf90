"""The venue as a web application: REST, both sockets and the control path on one port."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mqd.venue import control, data_socket
from mqd.venue.data_stream import DataHub
from mqd.venue.openapi import operations
from mqd.venue.sockets import Listeners
from mqd.venue.venue import Venue
from mqd.venue.wire import carry


def app_of(venue: Venue, *, control_token: str = "", stepped: bool = True) -> FastAPI:
    """Return the application; without a ``control_token`` nobody may use the control path."""
    app = FastAPI(title="mqd venue", docs_url=None, redoc_url=None)
    listeners = Listeners(venue)
    hub = DataHub(
        venue.account_id, plan=venue.data.plan, faults=venue.faults,
        prints=lambda: venue.data.prints_of(venue.market.present_rows),
        entitled=lambda account_id: "data" in venue.books[account_id].spec.scopes,
        days=lambda: venue.data.days_of(venue.market.present_rows, venue.now_ns),
    )  # fmt: skip
    venue.on_data(hub.publish)

    def cut() -> None:
        listeners.cut()
        hub.cut()

    venue.cut_sockets = cut

    async def answer(request: HttpRequest) -> Response:
        return await carry(venue, request)

    for one in operations():
        app.add_api_route(
            one.path, answer, methods=[one.method], operation_id=one.name, name=one.name,
            summary=one.summary, openapi_extra=one.extra, response_model=None,
            responses=one.responses,
        )  # fmt: skip
    app.include_router(listeners.router())
    app.include_router(data_socket.router(hub, venue.denials))
    app.include_router(control.router(venue, control_token, stepped=stepped))
    app.add_api_route(
        "/{path:path}", answer, methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        include_in_schema=False,
    )  # fmt: skip
    return app
