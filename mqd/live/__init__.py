"""The assembly of desk and adapter: paced rehearsals, sessions in real time, state folders.

``rehearsal.rehearse`` is the way in for a rehearsal; ``paced_run`` and ``realtime_run`` drive a
desk; ``recovery`` rebuilds one from its log; ``folder``, ``status``, ``rearm`` and ``backup``
are what the operator's commands stand on.
"""
