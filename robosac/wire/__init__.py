"""The wire between robots and a learner: messages and sockets."""
