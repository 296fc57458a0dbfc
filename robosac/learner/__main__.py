"""Entry point of the learner process."""

import sys

from robosac.learner.options import LearnerOptions
from robosac.learner.process import main

if __name__ == "__main__":
    sys.exit(main(LearnerOptions.from_argument(sys.argv[1])))
