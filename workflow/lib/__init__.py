"""The library behind the rules' scripts."""

import gc

# Reason: importing torch makes so many objects that looking for garbage among them takes a third of the time. What is imported
# by the start of a job is exempt from all later searches (`run.start_job`).
gc.set_threshold(100_000, 50, 50)
