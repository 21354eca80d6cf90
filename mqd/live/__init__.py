"""The assembly of desk and adapter: paced rehearsals, sessions in real time, state folders."""
