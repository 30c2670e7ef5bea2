# Everything installs what it is missing: Debian's packages (as root, or with sudo), and a virtual environment made with
# Debian's own python3, which is the one that app_python3 embeds.

KAMAILIO = kamailio kamailio-python3-modules kamailio-sqlite-modules kamailio-postgres-modules kamailio-mysql-modules \
	kamailio-tls-modules
VENV = .venv
PYTHON = $(VENV)/bin/python

PYTEST = $(PYTHON) -m pytest
PURE = tests/unit tests/flow
PACKAGE = tests/live/test_package.py

export PATH := $(PATH):/usr/sbin:/sbin

# The Debian whose Kamailio runs in containers of test-live, fuzz-uac and fuzz-wire. SUITE=sid has a newer one, and then
# containers alone are tested.
SUITE = trixie
export DEBIAN_SUITE = $(SUITE)

.PHONY: demo run db check test test-ksr test-db test-debian13 test-package test-live compare bench floods soak fuzz fuzz-uac fuzz-wire lint audit lock package lab lab-two lab-down base-image setup engine

# FAILOVER=1: over two trunks, the first of which has no room.
demo: setup
	@kamailio/install sip-tester
	@$(PYTHON) -m lab.demo $(if $(FAILOVER),--failover)

run: setup
	@exec $(PYTHON) -m kemi run

db: setup
	@$(PYTHON) -m kemi db

# What is tested without Kamailio, in seconds; as one version of it, of the three that `make test-ksr` goes through.
check: $(VENV)/check
	@$(PYTEST) -q -n 2 --ksr 6.0.1 $(PURE)

# Every test. The pure ones alone have to cover the core; of the others three files run at a time, because they mostly wait;
# what a file has for the container's Kamailio counts as another one (tests/order.py).
test: setup $(VENV)/test engine
	@kamailio/install sip-tester postgresql mariadb-server prometheus iproute2 openssl nsd nftables rtpengine-daemon
	@$(PYTHON) -m coverage run -m pytest -n 2 $(PURE)
	@$(PYTHON) -m coverage combine --quiet
	@$(PYTHON) -m coverage report
	@$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder $(PURE:%=--ignore=%) --ignore=$(PACKAGE)

test-ksr: $(VENV)/check
	@$(PYTEST) tests/ksr tests/flow

test-db: $(VENV)/test engine
	@kamailio/install postgresql mariadb-server
	@$(PYTEST) tests/db

# The Debian package, in a Debian 12 and a Debian 13 made from nothing: apt fetches Kamailio for each.
test-package: setup $(VENV)/test engine
	@$(PYTEST) $(PACKAGE)

# What needs no running Kamailio, on Debian 13's Python, libraries and database servers, in the product's image.
test-debian13: engine
	@[ "$(TRUNKAUTH_NO_DOCKER)" = 1 ] || { \
		docker build -q -t kemi-trunkauth:test -f kamailio/Dockerfile . && \
		docker build -q -t kemi-trunkauth:test-debian13 tests/debian13 && \
		docker run --rm -v "$(CURDIR):/project:ro" kemi-trunkauth:test-debian13; \
	}

# K: which tests, as pytest's -k takes it.
test-live: setup $(VENV)/test engine
	@kamailio/install sip-tester postgresql mariadb-server prometheus iproute2 openssl nsd nftables rtpengine-daemon
	@$(PYTEST) tests/live $(if $(K),-k "$(K)")

# The table of what is answered in docs/calls.md, from a live run; IN=container: on the Kamailio of the project's image.
compare: setup $(VENV)/test $(if $(filter container,$(IN)),engine)
	@$(PYTHON) -m tests.live.compare $(if $(filter container,$(IN)),--container)

# Figures of this machine, in Markdown, var/bench/bench.png and bench.json. ROWS: of the first whole sync; QUICK=1: only
# that it works. SILENCE=3600: the first call after so many seconds without one instead.
ROWS = 1000000
bench: setup $(VENV)/test
	@kamailio/install sip-tester postgresql mariadb-server
	@$(PYTHON) -m tests.bench $(if $(QUICK),--quick,--rows $(ROWS)) $(if $(SILENCE),--silence $(SILENCE))

# Half of what this machine carries, for MINUTES; fails if a call is lost. RATE: calls per second instead. UP=100000: so
# many calls up at once instead, with the memory that there is by default. FAILOVER=10000: so many calls over two trunks
# instead, the first of whose carriers goes up and down; fails if a call is lost but those that it had answered.
MINUTES = 30
soak: setup $(VENV)/test
	@kamailio/install sip-tester
	@$(PYTHON) -m tests.bench.soak --minutes $(MINUTES) $(if $(RATE),--rate $(RATE)) $(if $(UP),--up $(UP)) \
		$(if $(FAILOVER),--failover $(FAILOVER))

# Coverage-guided, for SECONDS; what it finds is left in var/fuzz, and given to it again next time.
SECONDS = 60
fuzz: setup $(VENV)/test
	@mkdir -p var/fuzz
	@$(PYTHON) -m tests.unit.fuzz_challenge -max_total_time=$(SECONDS) -max_len=4096 -print_final_stats=1 \
		-artifact_prefix=var/fuzz/ var/fuzz

# What a flood costs, by the gate that it meets: CPU for each of its requests, and what calls notice.
floods: setup $(VENV)/test
	@$(PYTHON) -m tests.bench.floods

# What is given to Kamailio's own uac_auth() neither ends it nor is answered wrongly: FIELDS of them, made from SEED. IN:
# container, for the project's image; another image with kamailio and its Python module; or this machine's Kamailio.
FIELDS = 1000000
SEED = 1
CONTAINER = $(filter container,$(IN))
fuzz-uac: setup $(VENV)/test $(if $(CONTAINER),engine)
	@$(PYTHON) -m tests.live.uac_auth --fields $(FIELDS) --seed $(SEED) $(if $(CONTAINER),--container,$(if $(IN),--image $(IN)))

# Made messages from a caller, a carrier and strangers: none ends Kamailio, or raises in Python. IN=container as above.
MESSAGES = 200000
fuzz-wire: setup $(VENV)/test $(if $(CONTAINER),engine)
	@$(PYTHON) -m tests.live.wire --messages $(MESSAGES) --seed $(SEED) $(if $(CONTAINER),--container)

lint: $(VENV)/test
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Known vulnerabilities in the releases of locks/; says so if nobody can be asked.
audit: var/audit/ready
	@/usr/bin/python3 -m lab.audit var/audit/bin/pip-audit

var/audit/ready: locks/audit.txt
	@kamailio/install python3-venv
	@/usr/bin/python3 -m venv var/audit
	@var/audit/bin/python $(INSTALL) --require-hashes -r locks/audit.txt
	@touch $@

# The releases in locks/, anew: the newest that pyproject.toml allows, for every Python from 3.11 on. UV: uv, which
# `pip install uv` brings.
UV = uv
LOCK = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' --extra
lock:
	@$(LOCK) setup --extra postgresql --extra mysql --output-file locks/run.txt --upgrade
	@$(LOCK) setup --extra postgresql --extra mysql --extra check --output-file locks/check.txt --upgrade
	@$(LOCK) setup --extra postgresql --extra mysql --extra test --output-file locks/test.txt --upgrade
	@$(LOCK) audit --output-file locks/audit.txt --upgrade

# The wheel and the Debian package, in dist/.
package: setup
	@rm -rf dist
	@PYTHON=$(PYTHON) kamailio/package dist

lab:
	@lab/engine lab

# Two nodes behind one address, one of which is killed under load (docs/two-nodes.md).
lab-two:
	@lab/engine lab-two

lab-down:
	@lab/engine lab-down

base-image:
	@lab/engine base-image

setup: $(VENV)/ready
	@kamailio/install $(KAMAILIO)

engine:
	@if [ "$(TRUNKAUTH_NO_DOCKER)" = 1 ]; then \
		echo "TRUNKAUTH_NO_DOCKER=1: the container image and the lab are not tested"; \
	else \
		lab/engine base-image && lab/engine base-image $(SUITE); \
	fi

# Every release by its hash. What comes as source is built with the setuptools of the lock, not with the newest one.
INSTALL = -m pip install --quiet --disable-pip-version-check --no-build-isolation

$(VENV)/ready: pyproject.toml locks/run.txt
	@kamailio/install python3-venv
	@/usr/bin/python3 -m venv $(VENV)
	@$(PYTHON) $(INSTALL) --require-hashes -r locks/run.txt
	@$(PYTHON) $(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/check: $(VENV)/ready locks/check.txt
	@$(PYTHON) $(INSTALL) --require-hashes -r locks/check.txt
	@touch $@

# sippy, which verifies digests in the tests, comes as source.
$(VENV)/test: $(VENV)/ready locks/test.txt
	@kamailio/install gcc python3-dev
	@$(PYTHON) $(INSTALL) --require-hashes -r locks/test.txt
	@touch $@
