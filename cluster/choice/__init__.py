"""Which trial of a sweep is the best one, by what rule, how sure that is, and what to try next."""
