"""Orders meet the market: matching, costs, the simulated venue; what a real one leaves open.

``simulated_broker`` fills a replay; ``executor`` sends on threads, ``inquiry`` asks for orders in
doubt, ``reconciliation`` compares books with a venue's, ``breaks`` explains what differs.
"""
