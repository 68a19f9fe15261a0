"""The load test it all began with: more and more users, until something gives. Not part of the product."""
