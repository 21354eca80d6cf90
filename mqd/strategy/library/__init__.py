"""Ready strategies. ``NAMES`` says where each lives; nothing is imported until it is asked for."""

NAMES = {
    "buy_and_hold": "mqd.strategy.library.buy_and_hold:BuyAndHold",
    "sma_cross": "mqd.strategy.library.sma_cross:SmaCross",
    "rsi_reversion": "mqd.strategy.library.rsi_reversion:RsiReversion",
    "bollinger_reversion": "mqd.strategy.library.bollinger_reversion:BollingerReversion",
    "vwap_reversion": "mqd.strategy.library.vwap_reversion:VwapReversion",
    "donchian_breakout": "mqd.strategy.library.donchian_breakout:DonchianBreakout",
    "model_signal": "mqd.strategy.library.model_signal:ModelSignal",
    "momentum_rotation": "mqd.strategy.library.momentum_rotation:MomentumRotation",
}
