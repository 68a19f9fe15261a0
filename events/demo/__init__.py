"""A believable demo: a month of a web shop's events from a seed, brought in the way every event comes in.

`people.py` who comes and when, `product.py` what they do there, `month.py` in what order it arrives, `flaws.py` what is wrong
with some of it, `load.py` how it gets in.
"""
