"""Which trial of a sweep is the best one, by what rule, and how sure that is."""
