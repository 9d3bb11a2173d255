"""
This part of the workflow writes the config for a folder of images. It is included first, as it needs no valid config.

REQUIRED INPUTS:

    config: images = a folder of images, with masks or without

OUTPUTS: <name of the folder>.yaml in the working folder, which is never replaced. It is written while Snakemake reads this file,
and Snakemake ends.
"""

import sys


rule init:
    """Write the config for a folder of images: snakemake init --config images=/path/to/folder"""
    localrule: True


if "init" in sys.argv:
    import logging

    from workflow.lib.init.config import write_config
    from workflow.lib.job.run import UserError

    if "images" not in config:
        raise UserError(
            "no folder to look at",
            found="no `images`",
            expected="the folder of your images",
            where="command line",
            next="snakemake init --config images=/path/to/folder",
        )
    logging.getLogger("medseg").setLevel(logging.ERROR)  # what it would warn of is in the comments
    print(write_config(config["images"]))
    sys.exit(0)
