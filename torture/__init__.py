"""Does to a running stack what life does, and counts the events. Not part of the product: nothing of it imports this.

Read in order: `crowd` sends, `faults` breaks, `watch` times the recovery, `verdict` counts, `__main__` repeats.
"""
