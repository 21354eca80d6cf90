"""The compiled loop: bars × symbols × combinations, on the same functions as the desk."""
