"""An old name: jobs that were submitted by nightboard 0.1.0 hold pickles that call `nightboard.tasks.evaluate.run_job`.

Nothing else uses it. It goes in the release after the next one.
"""

from nightboard.tasks.evaluation.job import run_job as run_job
