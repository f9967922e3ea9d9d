"""The worker loop: set up, train, evaluate, save, go on. It knows no Ray."""
