# `make demo` shows the platform, `make test` proves it. Both write to this clone and to ERP_PLATFORM_CACHE only.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
export ERP_PLATFORM_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/erp.platform
export UV_CACHE_DIR := $(ERP_PLATFORM_CACHE)/uv
# Sites with a certificate authority of their own have it in the system's store, which uv reads only when asked.
export UV_SYSTEM_CERTS := true
export PIP_CACHE_DIR := $(ERP_PLATFORM_CACHE)/pip
export PRE_COMMIT_HOME := $(ERP_PLATFORM_CACHE)/pre-commit
export ANSIBLE_HOME := $(CURDIR)/.ansible
export ANSIBLE_REMOTE_TMP := $(ANSIBLE_HOME)/tmp
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup demo down test bench lint sanity unit integration docs lock changelog clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/ready ## install the locked tools into .venv

.venv/ready: requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check --require-hashes -r <(sed -n '/^uv==/,/# via/p' requirements/dev.txt)
	uv pip sync --require-hashes requirements/dev.txt
	touch $@

demo: setup ## start the sandbox and run the playbook against it
	sandbox/sandbox up
	eval "$$(sandbox/sandbox env)"; ansible-playbook site.yml -i inventories/dev
	@echo 'Look around:  eval "$$(sandbox/sandbox env)"; kubectl -n erp-dev get pods,hpa,targetgroupbindings'
	@echo 'Run it again: ansible-playbook site.yml -i inventories/dev     End it: make down'

down: setup ## stop the sandbox
	sandbox/sandbox down

test: lint sanity ## everything: lint, sanity, unit, integration and end to end
	pytest tests/unit tests/integration

PART ?= gate
bench: setup ## measure beside other tools: make bench PART=gate [SIZES="12 dag"] [TOOLS="ours kubectl"] [ROUNDS=1]
	python -m bench $(PART) $(if $(SIZES),--sizes $(SIZES)) $(if $(TOOLS),--tools $(TOOLS)) $(if $(ROUNDS),--rounds $(ROUNDS))

lint: setup ## ruff, mypy, yamllint, ansible-lint, antsibull-docs, shellcheck
	timeout 15m pre-commit run --all-files

sanity: setup ## ansible-test sanity on the built collection
	timeout 15m tests/sanity/run

unit: setup ## rules and cores, without a cluster
	pytest tests/unit

integration: setup ## modules and playbooks on a sandbox
	pytest tests/integration

docs: setup ## write each role's README from its argument specs
	python docs/role_readme.py

lock: setup ## compile requirements/*.txt from pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -o requirements/dev.txt

changelog: setup ## move changelogs/fragments into CHANGELOG.md, under the version of galaxy.yml
	antsibull-changelog release --update-existing

clean: down ## remove what was made in this clone
	rm -rf .venv .ansible .bench .sandbox .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/output
