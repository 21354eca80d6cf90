"""Alpaca: the only package that imports its SDK.

``session`` makes one call safe, ``connector`` is the ``Broker``, ``streams`` the two sockets,
``binding`` the account's proof, ``history`` the provider of past bars. A POST is sent once.
"""
