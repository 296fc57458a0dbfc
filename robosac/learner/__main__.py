"""Entry point of the learner process."""

import sys
from pathlib import Path

from robosac.learner.process import main
from robosac.run_folder import RunFolder

if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1])), int(sys.argv[2])))
