"""What goes wrong between the desk and Alpaca, as sentences."""

from __future__ import annotations

from mqd.errors import ConfigError, MqdError, OrderError


class VenueUnreachable(MqdError):
    """No answer that could be read: nothing is known of what the venue did."""

    def __init__(self, call: str, why: str) -> None:
        self.call = call
        super().__init__(f"The venue did not answer {call}: {why}. What it did is not known.")


class NotSent(VenueUnreachable):
    """A call of ours that did not leave this machine: the venue did nothing."""

    def __init__(self, call: str, why: str) -> None:
        self.call = call
        MqdError.__init__(self, f"{call} was not sent: {why}.")


class VenueRefused(MqdError):
    """The venue answered a question with an error."""

    def __init__(self, call: str, status: int, message: str) -> None:
        self.call, self.status, self.message = call, status, message
        super().__init__(f"The venue refused {call} with {status}: {message or 'no reason given'}.")


class VenueLies(VenueUnreachable):
    """The venue answered 200 with something that is not its interface."""

    def __init__(self, call: str, what: str) -> None:
        self.call = call
        MqdError.__init__(
            self,
            f"The venue answered {call} with {what}: this is not Alpaca's interface. Check the"
            " endpoint's address, and what stands between it and this machine.",
        )


class OrderNotExpressible(OrderError):
    """An order that Alpaca's interface has no words for; nothing was sent."""

    def __init__(self, symbol: str, why: str) -> None:
        super().__init__(f"{symbol}: {why}. Nothing was sent.")


class KeysRefused(ConfigError):
    """Keys that cannot be used as they are."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"Keys from {where} are refused: {why}.")


class BindingRefused(ConfigError):
    """Mode, endpoint, keys and account do not belong together; no order is sent."""

    def __init__(self, why: str) -> None:
        super().__init__(f"This account is not bound: {why}. No order is sent.")
