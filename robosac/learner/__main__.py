"""Entry point of the learner process."""

import os
import sys

from robosac.learner.options import LearnerOptions

if __name__ == "__main__":
    options = LearnerOptions.from_argument(sys.argv[1])
    os.nice(options.nice)  # before torch makes threads: each has a priority of its own

    from robosac.learner.process import main

    sys.exit(main(options))
