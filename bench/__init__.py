"""Measures the product on the machine it runs on. Not part of it: nothing imports this."""
