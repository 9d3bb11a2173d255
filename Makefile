# medseg-transfer: `make demo` runs the whole pipeline on small generated data, `make test` runs all tests.
# After `. .venv/bin/activate`, plain `snakemake` does everything else.

PYTHON ?= python3
SNAKEMAKE = .venv/bin/snakemake --profile profiles/laptop --configfile configs/demo.yaml

.PHONY: help install develop demo quick test lint bench clean

help:
	@echo "make demo   the whole pipeline on generated data (5 minutes on 2 cores)"
	@echo "make quick  tests that take under two seconds each, in several processes: before a commit (2 minutes on 2 cores)"
	@echo "make test   all tests (25 minutes on 2 cores)"
	@echo "make lint   style, types and workflow checks (.pre-commit-config.yaml)"
	@echo "make bench  how fast this project is beside others: a table and a figure (docs/speed.md; make bench OPTIONS=--gpu)"
	@echo "All of them install what they need into .venv first; \`make install\` does only that, for runs."

install: .venv/ready

.venv/ready: envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "found $$($(PYTHON) --version), expected Python 3.11 or newer; next: install it, then make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing; next: sudo apt-get install python3-venv, then make $(MAKECMDGOALS) again"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	@touch $@

# Tools of tests and style checks; a run needs none of them.
develop: .venv/develop

.venv/develop: envs/dev.lock .venv/ready
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/dev.lock
	@touch $@

demo: install
	@$(SNAKEMAKE)
	@$(SNAKEMAKE) configs/demo_transfer.yaml -- transfer
	@$(MAKE) --no-print-directory --silent results/demo/report.html
	@echo
	@sed '/^$$/q' results/demo/answer.txt
	@echo "open     results/demo/index.html (the answer, what networks see and segment, every figure and table, in one file)"
	@echo "tasks    results/demo_transfer/transfer.html (which task to pretrain on, what to transfer, few patients)"
	@echo "report   results/demo/report.html (the answer, every figure with its caption, how every file was made)"
	@echo "The images are generated: nothing here is about real ones. Next, yours: recipe 1 of README.md."

results/demo/report.html: results/demo/answer.txt $(wildcard results/demo/figures/*.png)
	$(SNAKEMAKE) --report $@ --quiet all
	touch $@

quick: develop
	.venv/bin/python -m pytest -n auto -m "not slow and not slurm"

# By file, in one process more than two cores have: that of the tests on SLURM mostly waits.
test: develop
	.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: develop
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/pre-commit run --all-files

bench: develop
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks $(OPTIONS)

clean:
	rm -rf results/demo results/demo_transfer tests/.out
