"""An old name: jobs that were submitted by nightboard 0.1.0 start as `python -m nightboard.tasks.job FOLDER`.

Nothing else uses it. It goes in the release after the next one.
"""

import sys
from pathlib import Path

from nightboard.tasks.evaluation.job_process import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
