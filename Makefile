# The commands of the project; all work in the virtual environment .venv, and a second run of each is quick.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Exported models, and the data of the demo.
BUILD := .build
export RECWIRE_CACHE_DIR ?= $(BUILD)
# Also for the environments in which pip builds: hnswlib comes as source.
export PIP_CONSTRAINT := constraints.txt

# Real films and ratings where they lie beside the project; else the demo takes the catalogue that ships.
FILMS := $(wildcard ../shared/data/ml-latest-small)
DEMO_DATA := $(if $(FILMS),--items $(FILMS)/items.jsonl.gz --events $(FILMS)/interactions.tsv.gz)
DEMO := $(BIN)/recwire-server demo --data-dir $(BUILD)/demo-$(if $(FILMS),films,shipped) $(DEMO_DATA)

.PHONY: demo serve test test-long check proto bench clean

demo: $(INSTALLED) ## real recommendations out of a real server, in one command
	$(DEMO)

serve: $(INSTALLED) ## the same, and the server stays up on 127.0.0.1:50051
	$(DEMO) --listen 127.0.0.1:50051 --stay

test: $(INSTALLED) ## all tests but the long ones
	$(BIN)/pytest

test-long: $(INSTALLED) ## the long variants too
	$(BIN)/pytest -m "long or not long"

check: $(INSTALLED) ## style, types, the wire contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code

proto: $(INSTALLED) ## the client's generated code, from protos/
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=client/src --pyi_out=client/src protos/recwire/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -Iprotos --grpc_python_out=client/src protos/recwire/v1/*_service.proto
	$(BIN)/python -c 'from recwire.service_config import service_config; print(service_config())' > client/service_config.json

bench: $(INSTALLED) ## the quick benchmarks, in ten minutes, and a report of them in .build/bench
	$(BIN)/python -m benchmarks --quick --json $(BUILD)/bench/quick.json
	$(BIN)/python -m benchmarks report $(BUILD)/bench

clean: ## back to a clean checkout
	rm -rf .venv $(BUILD)

$(INSTALLED): constraints.txt client/pyproject.toml server/pyproject.toml
	@command -v c++ >/dev/null || { echo "hnswlib is compiled here: install a C++ compiler (Debian: apt-get install g++)"; exit 1; }
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e client -e 'server[cpu,export,minilm,traces,dev]'
	touch $@
