# make demo   install, fetch CIFAR-10, train, test, predict, draw
# make test   all tests
# make check  formatting, lint and types
# make parity recompute Keras's golden numbers in an environment of its own
# Without make: the README has the same commands for pip.
# Without a GPU: make demo TORCH_INDEX=ADDRESS takes torch from there too; PyTorch's site has that of its CPU builds.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    ?= runs/demo
TORCH_INDEX ?=

.PHONY: demo test check parity clean

demo: $(VENV)/ready
	@echo "This fetches CIFAR-10 (139 MB, once), trains AlexNet on it, tests it on 10,000 pictures,"
	@echo "predicts one picture and draws what happened: training took 11 minutes on two cores with AVX2, six on"
	@echo "two with bf16 units. It is timed on a few steps first and then says how long it takes here."
	$(BIN)/alexnet data cifar10
	if [ -f $(RUN)/recipe.toml ]; then $(BIN)/alexnet resume $(RUN); \
	else $(BIN)/alexnet train cifar10-quick --out $(RUN); fi
	$(BIN)/alexnet eval $(RUN) cifar10/test
	$(BIN)/alexnet predict $(RUN) $(RUN)/picture.png
	@echo "Everything is in $(RUN)/: look at curves.png, confusion.png, samples.png, prediction.png"

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) )-e ".[dev]"
	@touch $@

parity: .venv-parity/ready
	.venv-parity/bin/python tools/keras_golden.py --check

.venv-parity/ready: tools/keras_golden.py tools/keras_fit.py
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check tensorflow-cpu keras opencv-python-headless
	@touch $@

clean:
	rm -rf $(VENV) .venv-parity .pytest_cache .mypy_cache .ruff_cache
