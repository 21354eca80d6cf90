"""Wrong rules, one for each law of ``check_risk_rule``, and right ones that must pass.

Each is a mistake that someone could make; the name of the law is the one that must catch it.
"""

from mqd import risk

_calls = {"n": 0, "reserved": 0.0}


def forget():
    """Start anew, as in a fresh process."""
    _calls["n"] = 0
    _calls["reserved"] = 0.0


def p1_nan_passes(order, portfolio, limits):
    return not order.notional > limits.notional_usd_max


def p1_divides_by_zero(order, portfolio, limits):
    return (portfolio.gross + order.notional) / portfolio.equity <= limits.gross_frac_max


def p1_answers_a_number(order, portfolio, limits):
    return limits.notional_usd_max - order.notional


def p2_refuses_small_orders(order, portfolio, limits):
    return order.qty >= 10.0


def p3_limit_upside_down(order, portfolio, limits):
    return order.notional * limits.notional_usd_max <= 1e7


def p4_refuses_cheap_bids(order, portfolio, limits):
    return order.px >= 0.95 * portfolio.ref_px


def p5_likes_old_prices(order, portfolio, limits):
    return portfolio.ref_age_ns >= 1e9


def p6_open_orders_make_room(order, portfolio, limits):
    room = limits.position_qty_max + portfolio.open_qty
    return abs(portfolio.qty) + order.qty <= room


def p6_equity_hurts(order, portfolio, limits):
    return portfolio.equity <= 50_000.0


@risk.rule(control=28, limit="turnover_frac_max", observes=lambda o, p: p.day_notional)
def p7_blocks_the_exit(order, portfolio, limits):
    value = portfolio.day_notional + portfolio.open_notional + order.qty * portfolio.ref_px
    return value <= limits.turnover_frac_max * portfolio.equity


def p8_any_opposite_order_reduces(order, portfolio, limits):
    if order.side * portfolio.qty < 0.0:
        return True
    return order.notional <= limits.notional_usd_max


def p9_every_second_call(order, portfolio, limits):
    _calls["n"] += 1
    return _calls["n"] % 2 == 0


def p11_never_releases(order, portfolio, limits):
    _calls["reserved"] += order.notional
    if _calls["reserved"] <= 1_000.0:
        return True
    _calls["reserved"] = 0.0
    return False


def p12_forgets_open_orders(order, portfolio, limits):
    return abs(portfolio.qty + order.side * order.qty) <= limits.position_qty_max


def p12_spends_cash_twice(order, portfolio, limits):
    return order.side < 0.0 or order.notional <= portfolio.cash


@risk.rule(control=9, limit="daily_loss_frac_max", reducing_passes=True)
def p13_forgives_after_a_while(order, portfolio, limits):
    start = portfolio.day_start_equity
    lost = start - portfolio.equity >= limits.daily_loss_frac_max * start
    return start > 0.0 and portfolio.equity > 0.0 and (not lost or portfolio.now_ns > 1.75e18)


def p14_adds_sells(order, portfolio, limits):
    return portfolio.qty + portfolio.open_qty + order.qty <= limits.position_qty_max


@risk.rule(limit="notional_usd_max", observes=lambda o, p: o.qty)
def p15_counts_shares_as_money(order, portfolio, limits):
    return order.qty <= limits.notional_usd_max


@risk.rule(control=11, limit="orders_s_max", observes=lambda o, p: p.orders_last_s)
def p16_off_by_one(order, portfolio, limits):
    return portfolio.orders_last_s <= limits.orders_s_max + limits.orders_burst_max


def compiled_wraps_around(order, portfolio, limits):
    if not 0.0 <= order.notional <= 1e6:
        return False
    return int(order.notional * 1e20) > 1_000


WRONG = [
    ("P1", p1_nan_passes),
    ("P1", p1_divides_by_zero),
    ("P1", p1_answers_a_number),
    ("P2", p2_refuses_small_orders),
    ("P3", p3_limit_upside_down),
    ("P4", p4_refuses_cheap_bids),
    ("P5", p5_likes_old_prices),
    ("P6", p6_open_orders_make_room),
    ("P6", p6_equity_hurts),
    ("P7", p7_blocks_the_exit),
    ("P8", p8_any_opposite_order_reduces),
    ("P9", p9_every_second_call),
    ("P10", p9_every_second_call),
    ("P11", p11_never_releases),
    ("P12", p12_forgets_open_orders),
    ("P12", p12_spends_cash_twice),
    ("P13", p13_forgives_after_a_while),
    ("P14", p14_adds_sells),
    ("P15", p15_counts_shares_as_money),
    ("P16", p16_off_by_one),
    ("P17", p9_every_second_call),
    ("compiled", compiled_wraps_around),
]


def calm_notional(order, portfolio, limits):
    return order.notional <= 5_000.0


def calm_position(order, portfolio, limits):
    worst = portfolio.qty + order.side * (portfolio.open_qty + order.qty)
    return abs(worst) <= 100.0


@risk.rule(limit="gross_frac_max", observes=lambda o, p: p.gross, reducing_passes=True)
def calm_gross(order, portfolio, limits):
    return portfolio.gross + order.notional <= limits.gross_frac_max * portfolio.equity


@risk.rule(control=21)
def calm_long_only(order, portfolio, limits):
    return order.side > 0.0 or order.reducing == 1.0


def calm_halt(order, portfolio, limits):
    if order.reducing:
        return True
    return portfolio.equity >= 0.98 * portfolio.day_start_equity


def calm_net(order, portfolio, limits):
    net = portfolio.net + order.side * order.notional
    return abs(net) <= limits.net_frac_max * portfolio.equity


def calm_collar(order, portfolio, limits):
    away = order.side * (order.px - portfolio.ref_px)
    return away <= 0.05 * portfolio.ref_px


def calm_cash(order, portfolio, limits):
    return order.notional + portfolio.open_notional <= portfolio.cash


def not_compiled(order, portfolio, limits):
    """Formats text, which numba does not take."""
    return order.notional <= float(f"{5_000.0:.2f}")


RIGHT = [
    calm_notional,
    calm_position,
    calm_gross,
    calm_long_only,
    calm_halt,
    calm_net,
    calm_collar,
    calm_cash,
    not_compiled,
]
