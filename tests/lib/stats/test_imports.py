"""Statistics and figures run on any laptop: no GPU library, not even indirectly."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_stats_and_paper_import_no_gpu_library():
    files = [path for stage in ("stats", "paper") for path in (ROOT / "workflow/lib" / stage).glob("*.py")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert len(modules) >= 10
    heavy = "{'torch', 'torchvision', 'timm', 'monai'}"
    code = f"import sys, {', '.join(modules)}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
