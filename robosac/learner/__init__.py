"""The learner: updates, the service that takes experience in, and checkpoints."""
