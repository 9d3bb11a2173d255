# medseg-transfer: `make demo` runs the whole pipeline on small generated data, `make test` runs all tests.
# After `. .venv/bin/activate` plain `snakemake` does the rest.

PYTHON ?= python3
SNAKEMAKE = .venv/bin/snakemake --profile profiles/laptop --configfile configs/demo.yaml

.PHONY: help install demo test lint clean

help:
	@echo "make demo   the whole pipeline on generated data (a few minutes on 2 cores)"
	@echo "make test   all tests (about half an hour on 2 cores)"
	@echo "make lint   style, types and workflow checks"

install: .venv/ready

.venv/ready: envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "found $$($(PYTHON) --version), expected Python 3.11 or newer; next: install it, then make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing; next: sudo apt-get install python3-venv, then make $(MAKECMDGOALS) again"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	@touch $@

demo: install
	@$(SNAKEMAKE)
	@$(MAKE) --no-print-directory --silent results/demo/report.html
	@echo
	@sed '/^$$/q' results/demo/answer.txt
	@echo "details  results/demo/answer.txt"
	@echo "figures  results/demo/figures/"
	@echo "tables   results/demo/tables/"
	@echo "report   results/demo/report.html"

results/demo/report.html: results/demo/answer.txt $(wildcard results/demo/figures/*.png)
	$(SNAKEMAKE) --report $@ --quiet all
	touch $@

test: install
	.venv/bin/python -m pytest

lint: install
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/mypy workflow/lib
	.venv/bin/snakefmt --check Snakefile workflow/rules
	.venv/bin/snakemake --lint

clean:
	rm -rf results/demo tests/.out
